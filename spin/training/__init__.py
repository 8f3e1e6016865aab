"""Training loops: Spin's swapped prediction, and masked prediction for the shipped encoder."""
