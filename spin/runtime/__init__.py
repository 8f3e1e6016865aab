"""What every stage and training shares: files, settings, seeds, devices, logs, checkpoints, done marks, workers."""
