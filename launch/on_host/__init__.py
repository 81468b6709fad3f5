"""What runs beside the training process, wherever that is; standard library only."""
