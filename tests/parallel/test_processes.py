"""How processes find each other, from flags and from what clusters leave in the environment."""

import pytest

from dlresearch.errors import UserError
from dlresearch.parallel.processes import ProcessOptions, find_cluster, unused_accelerator

SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_PROCID": "1"}
ADDRESS = {"JAX_COORDINATOR_ADDRESS": "host:1234"}


def found(environment: dict[str, str], **options):
    return find_cluster(ProcessOptions(**options), {"JAX_PLATFORMS": "cpu", **environment})


@pytest.mark.parametrize(
    ("environment", "name", "method"),
    [
        ({**SLURM, "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}, "Slurm", "slurm"),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, "Open MPI", "ompi"),
        ({**ADDRESS, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}, "flags", "deactivate"),
        (
            {**ADDRESS, "JAX_NUM_PROCESSES": "2", "JOB_COMPLETION_INDEX": "1"},
            "flags",
            "deactivate",
        ),
    ],
)
def test_a_cluster_is_found(environment, name, method):
    cluster = found(environment)
    assert cluster.name.startswith(name)
    assert cluster.arguments is not None
    assert cluster.arguments["cluster_detection_method"] == method


@pytest.mark.parametrize(
    ("environment", "hint"),
    [
        ({}, ""),
        ({**SLURM, "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1"}, ""),  # a shell of salloc
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8"}, "start with srun"),  # sbatch without srun
        ({"OMPI_COMM_WORLD_SIZE": "1"}, ""),
        ({"JAX_NUM_PROCESSES": "1"}, ""),
        ({"JOB_COMPLETION_INDEX": "3"}, "set JAX_COORDINATOR_ADDRESS and JAX_NUM_PROCESSES"),
        ({"TPU_WORKER_HOSTNAMES": "one"}, ""),
    ],
)
def test_a_process_that_is_alone_stays_alone(environment, hint):
    cluster = found(environment)
    assert cluster.arguments is None
    assert hint in cluster.name
    assert bool(hint) == bool(cluster.name)


def test_a_pod_of_tpus_is_found_unless_another_platform_is_asked_for():
    hosts = {"TPU_WORKER_HOSTNAMES": "one,two"}
    assert found({**hosts, "JAX_PLATFORMS": "tpu"}).arguments == {}
    assert found(hosts).arguments is None


def test_flags_beat_the_environment():
    cluster = found(
        {**ADDRESS, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"},
        coordinator_address="[::1]:99",
        num_processes=4,
        process_id=3,
    )
    assert cluster.arguments == {
        "coordinator_address": "[::1]:99",
        "num_processes": 4,
        "process_id": 3,
        "cluster_detection_method": "deactivate",
    }


@pytest.mark.parametrize(
    ("environment", "options", "message"),
    [
        (ADDRESS, {}, "--num_processes"),
        ({}, {"num_processes": 2}, r"--coordinator_address .* and --process_id"),
        ({}, {"process_id": 0}, "--coordinator_address"),
        (ADDRESS, {"num_processes": 2, "process_id": 2}, r"not in 0 \.\.\. 1"),
        ({"JAX_NUM_PROCESSES": "two"}, {}, "JAX_NUM_PROCESSES='two' is not a number"),
        ({}, {"coordinator_address": "host", "num_processes": 2, "process_id": 0}, "host:port"),
        ({"PMI_SIZE": "2"}, {}, "mpi4py"),
    ],
)
def test_what_is_not_enough_or_wrong_is_said_in_one_line(environment, options, message):
    with pytest.raises(UserError, match=message):
        found(environment, **options)


@pytest.mark.parametrize(
    ("file", "extra"),
    [
        ("proc/driver/nvidia/version", "'dlresearch[cuda13]', or 'dlresearch[cuda]'"),
        ("dev/accel0", "'dlresearch[tpu]'"),
        ("dev/vfio/0", "'dlresearch[tpu]'"),
        ("dev/vfio/vfio", None),
        ("dev/null", None),
    ],
)
def test_an_accelerator_that_jax_does_not_use_is_named_with_what_to_install(tmp_path, file, extra):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    hint = unused_accelerator({}, tmp_path)
    assert (extra in hint and "JAX computes on the CPU" in hint) if extra else hint == ""
    assert unused_accelerator({"JAX_PLATFORMS": "cpu"}, tmp_path) == ""  # it is asked for
