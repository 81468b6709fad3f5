"""Repositories to launch from, and stand-ins for Slurm, gcloud and kubectl."""
