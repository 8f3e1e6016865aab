"""Spin training by swapped prediction, and masked-prediction pre-training of the tiny encoder."""
