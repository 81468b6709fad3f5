"""Get a command onto machines and its state back: this one, Slurm, TPU VMs, Kubernetes."""
