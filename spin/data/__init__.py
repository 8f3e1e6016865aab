"""The data road: audio, manifests of cuts, arrays, noise, views and batches."""
