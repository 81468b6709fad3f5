"""Losses and methods called on small inputs."""
