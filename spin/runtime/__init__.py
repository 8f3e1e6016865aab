"""What every stage and training shares: products, settings, seeds, devices, logs, checkpoints, locks, workers."""
