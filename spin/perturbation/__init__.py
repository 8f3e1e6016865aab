"""Speaker perturbation: another voice says the same. See perturb.py for the whole, the other files for its steps in their order."""
