"""What a process does before it touches a device: find the others, and join them."""

import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from dlresearch import preemption
from dlresearch.errors import Failure, UserError
from dlresearch.parallel.watch import Watch


@dataclass(frozen=True)
class ProcessOptions:
    """How processes find each other and how long they wait; the flags of all verbs.

    Attributes:
      coordinator_address: `host:port` of process 0; None looks in the environment, then for a
        cluster.
      num_processes, process_id: likewise.
      initialization_timeout: seconds until all processes must have joined.
      heartbeat_timeout: seconds of silence after which a process counts as gone.
      shutdown_timeout: seconds that the first process to finish waits for the others.
      stall_timeout: seconds without progress after which all processes end; 0 is never.
    """

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    initialization_timeout: int = 300
    heartbeat_timeout: int = 60
    shutdown_timeout: int = 300
    stall_timeout: float = 1800.0


def set_up(
    options: ProcessOptions, compilation_cache: str | None = None, deterministic: bool = False
) -> tuple[str, Watch]:
    """Join the other processes where there are any, and switch the compilation cache on.

    Args:
      compilation_cache: folder of compiled programs, shared by all runs; None takes
        `JAX_COMPILATION_CACHE_DIR`, else `~/.cache/dlresearch/compiled`; an empty string is off.
      deterministic: on GPUs, let XLA choose only operations whose result is the same every time.

    Returns:
      One line on which way was taken, for the log; and the watch over this process.

    Raises:
      UserError: processes that do not find each other, or no device of the kind that
        `JAX_PLATFORMS` asks for.
    """
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if compilation_cache is None:
        compilation_cache = os.environ.get(
            "JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache/dlresearch/compiled")
        )
    if compilation_cache:
        jax.config.update("jax_compilation_cache_dir", compilation_cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    if virtual := re.search(r"host_platform_device_count=(\d+)", os.environ.get("XLA_FLAGS", "")):
        # Threads of XLA:CPU, else as many as devices. All of them can come to wait in different
        # collective operations, and then none is left for what they wait for.
        os.environ.setdefault("NPROC", str(16 * int(virtual[1])))
    found = find_cluster(options, os.environ)
    if found.arguments is not None:
        _join(found.arguments, options)
    devices = _devices()
    watch = Watch(together=jax.process_count() > 1, stall_timeout=options.stall_timeout)
    where = f"{len(devices)} x {devices[0].device_kind}"
    if watch.together:
        return (
            f"process {jax.process_index()} of {jax.process_count()} ({found.name}), {where}",
            watch,
        )
    return f"one process{f' ({found.name})' if found.name else ''}, {where}", watch


@dataclass(frozen=True)
class Cluster:
    """How the processes of a run were found.

    Attributes:
      name: for the log.
      arguments: of `jax.distributed.initialize`, which finds the rest by itself; None where this
        process is alone.
    """

    name: str
    arguments: Mapping[str, Any] | None


def find_cluster(options: ProcessOptions, environment: Mapping[str, str]) -> Cluster:
    """The other processes, from flags, else from the environment, else by what started this one.

    Raises:
      UserError: what is given is not enough, or contradicts itself.
    """
    given = _given(options, environment)
    if given is not None:
        return given
    if "SLURM_STEP_NODELIST" in environment and "SLURM_PROCID" in environment:
        # Of the step, not of the job: an interactive shell is a step of one task in a larger job.
        if int(environment.get("SLURM_STEP_NUM_TASKS", environment.get("SLURM_NTASKS", "1"))) > 1:
            return Cluster("Slurm", {"cluster_detection_method": "slurm"})
        return Cluster("", None)
    if int(environment.get("SLURM_NTASKS", "1")) > 1:
        tasks = environment["SLURM_NTASKS"]
        return Cluster(f"Slurm has {tasks} tasks for this job; start with srun to use them", None)
    if int(environment.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        return Cluster("Open MPI", {"cluster_detection_method": "ompi"})
    if int(environment.get("PMI_SIZE", "1")) > 1:  # MPICH and Intel MPI
        if importlib.util.find_spec("mpi4py") is None:
            raise UserError(
                f"PMI_SIZE={environment['PMI_SIZE']}: MPI started several processes, and without"
                " mpi4py they do not find each other; pip install mpi4py, or give"
                " --coordinator_address, --num_processes and --process_id"
            )
        return Cluster("MPI", {"cluster_detection_method": "mpi4py"})
    if environment.get("JAX_PLATFORMS", "tpu").startswith("tpu"):
        if "," in environment.get("TPU_WORKER_HOSTNAMES", ""):
            return Cluster("TPU", {})
        if importlib.util.find_spec("libtpu") is not None and _has_tpu():
            return Cluster("TPU VM", {})  # one host or many: its metadata server knows
    if "JOB_COMPLETION_INDEX" in environment:
        hint = "set JAX_COORDINATOR_ADDRESS and JAX_NUM_PROCESSES to join the others"
        return Cluster(f"a pod of an indexed Kubernetes job; {hint}", None)
    return Cluster("", None)


def _given(options: ProcessOptions, environment: Mapping[str, str]) -> Cluster | None:
    """What flags and variables say; Kubernetes numbers the pods of an indexed job."""

    def number(flag: int | None, *variables: str) -> int | None:
        for variable in variables if flag is None else ():
            if environment.get(variable):
                try:
                    return int(environment[variable])
                except ValueError:
                    value = environment[variable]
                    raise UserError(f"{variable}={value!r} is not a number") from None
        return flag

    address = options.coordinator_address or environment.get("JAX_COORDINATOR_ADDRESS")
    count = number(options.num_processes, "JAX_NUM_PROCESSES")
    if address is None and count is None and options.process_id is None:
        return None
    if count == 1:
        return Cluster("", None)
    process = number(options.process_id, "JAX_PROCESS_ID", "JOB_COMPLETION_INDEX")
    missing = {
        "--coordinator_address (or JAX_COORDINATOR_ADDRESS)": address,
        "--num_processes (or JAX_NUM_PROCESSES)": count,
        "--process_id (or JAX_PROCESS_ID)": process,
    }
    lacking = [name for name, value in missing.items() if value is None]
    if lacking:
        raise UserError(f"{' and '.join(lacking)} is missing; processes are joined by all three")
    assert address is not None and count is not None and process is not None
    if not 0 <= process < count:
        raise UserError(
            f"--process_id={process} is not in 0 ... {count - 1} (--num_processes={count})"
        )
    _, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise UserError(f"--coordinator_address={address!r} is not host:port")
    given = {"coordinator_address": address, "num_processes": count, "process_id": process}
    return Cluster("flags or environment", {**given, "cluster_detection_method": "deactivate"})


def unused_accelerator(environment: Mapping[str, str], root: Path = Path("/")) -> str:
    """Return what to install where this machine has an accelerator that JAX does not use, or "".

    Args:
      root: of the file system.
    """
    if jax.default_backend() != "cpu" or environment.get("JAX_PLATFORMS"):
        return ""
    if (root / "proc/driver/nvidia/version").exists():
        return (
            "this machine has an NVIDIA GPU, and JAX computes on the CPU; pip install"
            " 'dlresearch[cuda13]', or 'dlresearch[cuda]' for a driver older than 580"
        )
    if _has_tpu(root):
        return "this machine has a TPU, and JAX computes on the CPU; pip install 'dlresearch[tpu]'"
    return ""


def _has_tpu(root: Path = Path("/")) -> bool:
    devices = root / "dev"
    return any(devices.glob("accel[0-9]*")) or any((devices / "vfio").glob("[0-9]*"))


def _join(arguments: Mapping[str, Any], options: ProcessOptions) -> None:
    jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
    jax.config.update("jax_cpu_collectives_implementation", "gloo")

    def join() -> None:
        jax.distributed.initialize(
            **arguments,
            # Where it is too late JAX aborts the process; we say so before that.
            initialization_timeout=options.initialization_timeout + 60,
            heartbeat_timeout_seconds=options.heartbeat_timeout,
            shutdown_timeout_seconds=options.shutdown_timeout,
        )

    address = arguments.get("coordinator_address")
    try:
        preemption.interruptible(join, options.initialization_timeout)
    except TimeoutError:
        raise Failure(
            "not all processes of this run have joined within"
            f" {options.initialization_timeout} s (--initialization_timeout); is process 0 there,"
            f" and can the others reach it{' at ' + address if address else ''}?"
        ) from None
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the processes of this run did not find each other: {str(error).splitlines()[0]}"
        ) from error


def _devices() -> list[Any]:
    try:
        return jax.devices()
    # RuntimeError says so; without the plugin of a GPU, JAX 0.10 fails an assertion of its own.
    except (RuntimeError, AssertionError) as error:
        platforms = os.environ.get("JAX_PLATFORMS")
        if not platforms:
            raise
        raise UserError(
            f"JAX_PLATFORMS={platforms}: JAX finds no such device here; install JAX for it, or"
            " unset the variable to take what there is"
        ) from error
