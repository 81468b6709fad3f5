"""What several files of this folder share."""

from tpu_runs import cloud, launch, repository

__all__ = ["cloud", "launch", "repository"]
