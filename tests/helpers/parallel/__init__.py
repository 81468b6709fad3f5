"""Meshes made where there are several devices."""
