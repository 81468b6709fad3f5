"""Ahead of time: programs for accelerators that are not here, and what can be read in them."""
