"""Compiles the training step of an experiment for a mesh that is not there, and says what its
devices send each other. One process for each, as XLA makes virtual devices at its start only.

    python benchmarks/scaling_case.py '{"config": ..., "overrides": {...}, "devices": 8}' OUT.json

With `"tpu": "v5e:2x4"` it is compiled by the TPU's own compiler, without a TPU; that takes the
package `libtpu`.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:  # it imports JAX, which has to wait for `_set_up`
    from dlresearch.training.aot.collectives import Collective

HOSTS = (8, 256)
"""Devices that have a faster link among themselves than to others: 8 of a GPU host, 256 of a
TPU v5e pod."""


def main(case: Mapping[str, Any], out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _set_up(case, folder)
        from dlresearch.errors import UserError

        try:
            figures = _figures(case, Path(folder))
        except UserError as error:  # such as a parameter that does not divide
            figures = {"refused": str(error)}
    out.write_text(json.dumps(figures))


def _set_up(case: Mapping[str, Any], folder: str) -> None:
    """Before JAX is imported."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    # A program out of the cache would not be partitioned again.
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    os.environ["XLA_FLAGS"] = (
        f"--xla_force_host_platform_device_count={case['devices']} --xla_dump_to={folder}"
        " --xla_dump_hlo_module_re=.*jit_one.* --xla_dump_hlo_pass_re=spmd-partitioning"
        # Nobody runs it: machine code that is not optimised takes half of the time.
        " --xla_backend_optimization_level=0"
    )
    if "tpu" in case:
        # Nobody is to be asked which TPU this machine has.
        os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}


def _figures(case: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    import jax

    from dlresearch.config import load, validate
    from dlresearch.models import jaxpr_flops
    from dlresearch.parallel import batch_sharding, bytes_per_device
    from dlresearch.training import Setup
    from dlresearch.training.aot.collectives import collectives
    from dlresearch.training.call import jit_call

    config = load(case["config"], tuple(case["overrides"].items()))
    with _mesh_of_tpus(case) if "tpu" in case else nullcontext():
        setup = Setup(validate(config))
    sharding = batch_sharding(setup.mesh)
    batch = {
        name: jax.ShapeDtypeStruct(each.shape, each.dtype, sharding=sharding)
        for name, each in setup.batch_shapes.items()
    }
    step = partial(setup.step, due=setup.due(0))
    call = jit_call(step, lambda resident, taken: taken, 1, setup.abstract_state)
    traced = call.trace(setup.abstract_state, {}, batch)
    began = time.perf_counter()
    compiled = traced.lower().compile()
    seconds = time.perf_counter() - began
    devices = setup.mesh.size
    programs = {"optimised": compiled.as_text() or ""}
    if "tpu" not in case:
        (path,) = folder.glob("*.after_spmd-partitioning.*")
        programs["partitioned"] = path.read_text()
    leaves = jax.tree.leaves(setup.abstract_state.variables.params)
    return {
        "mesh": {axis: size for axis, size in setup.mesh.shape.items() if size > 1},
        "batch": setup.examples_per_step,
        "parameters": sum(leaf.size for leaf in leaves),
        "state_bytes": bytes_per_device(setup.abstract_state),
        "flops": jaxpr_flops(traced.jaxpr) / devices,
        "seconds": round(seconds, 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "programs": {
            name: summary(collectives(text, devices), devices) for name, text in programs.items()
        },
    }


def _mesh_of_tpus(case: Mapping[str, Any]) -> Any:
    """The trainer's mesh, of TPUs that only a compiler knows."""
    import jax
    from jax.experimental import topologies

    from dlresearch.parallel import mesh

    topology = topologies.get_topology_desc(platform="tpu", topology_name=case["tpu"])

    def made(experiment: Any, devices: None) -> Any:
        del devices
        sizes = (experiment.mesh.data, experiment.mesh.fsdp, experiment.mesh.tensor)
        shape = mesh.abstract_mesh(len(topology.devices), *sizes).axis_sizes
        types = (jax.sharding.AxisType.Auto,) * len(mesh.AXES)
        return jax.make_mesh(shape, mesh.AXES, axis_types=types, devices=topology.devices)

    return mock.patch("dlresearch.training.setup.mesh_of", made)


def summary(found: Sequence["Collective"], devices: int) -> dict[str, Any]:
    """What one device sends in a step, in bytes: in all, by kind, and where."""
    kinds: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for each in found:
        name = each.kind + (", of which a part is kept" if each.scattered else "")
        kinds[name][0] += each.times
        kinds[name][1] += each.wire_bytes()
    largest = sorted(found, key=lambda each: each.wire_bytes(), reverse=True)
    return {
        "collectives": sum(each.times for each in found),
        "bytes": sum(each.wire_bytes() for each in found),
        "bytes_in_loops": sum(each.wire_bytes() for each in found if each.times > 1),
        "bytes_if_scattered": sum(
            each.wire_bytes() / (2 if each.scattered else 1) for each in found
        ),
        "bytes_in_host": {
            host: sum(each.wire_bytes(host) for each in found) for host in HOSTS if host <= devices
        },
        "bytes_between_hosts": {
            host: sum(each.network_bytes(host) for each in found)
            for host in HOSTS
            if host <= devices
        },
        "kinds": {
            name: {"collectives": times, "bytes": size} for name, (times, size) in kinds.items()
        },
        "largest": [
            {
                "kind": each.kind,
                "shape": each.shape if len(each.shape) < 80 else each.shape[:80] + " ...",
                "times": each.times,
                "bytes": each.wire_bytes(),
                "operation": each.operation[-100:],
            }
            for each in largest[:5]
        ],
    }


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
