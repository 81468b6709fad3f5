"""What several files of this folder share."""

from helpers.launch.tpu_runs import cloud, launch, repository

__all__ = ["cloud", "launch", "repository"]
