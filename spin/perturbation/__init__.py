"""Speaker perturbation: another voice says the same. perturb.py is the whole, stage.py analyses a corpus, the rest are steps."""
