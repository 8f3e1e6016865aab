"""Speaker perturbation: another voice says the same. README.md has the algorithm; perturb.py is the entry."""
