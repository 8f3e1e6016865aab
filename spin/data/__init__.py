"""Pairs of views for Spin: which utterances, in which batches, cropped and perturbed how."""
