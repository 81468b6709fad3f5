"""TPU VMs of Google Cloud, one node or several slices, by queued resources."""

from launch.backends.tpu_vm.backend import TpuVm

__all__ = ["TpuVm"]
