"""Encoders, importers of public checkpoints, the Spin head and codebook."""
