"""Learning without labels: a method a file, on what `base` has for all of them."""

from dlresearch.tasks.self_supervised.base import Learned, SelfSupervised

__all__ = ["Learned", "SelfSupervised"]
