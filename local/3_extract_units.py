#!/usr/bin/env python3
"""Stage 3: features and units of every part by every system, and how good the units are.

1. Features: one layer of an encoder or model per frame of 20 ms, or a filterbank. A model's codebook gives its units in the
same pass. 2. k-means, for systems without a codebook of their own, with as many clusters as Spin has codes. 3. Units of every
part. 4. Metrics on the test parts, clean and noisy: every line of spin/units/metrics.py. 5. The same in TensorBoard, with unit
maps and a few utterances.

Each step builds products (spin/products.py) and skips those that are up to date.
"""

import sys

from spin.runtime.product import Context
from spin.runtime.stage import run_stage
from spin.systems import systems_of


def extract_units(context: Context) -> None:
    """Builds all that stage 3 owns."""
    from spin.units.extract_units import build_features, build_kmeans, build_metrics, build_pictures, build_units

    systems = systems_of(context.config, context.exp)
    build_features(context, systems)
    for system in systems:
        if not system.has_codebook:
            build_kmeans(context, system)
        build_units(context, system)
    for system in systems:
        build_metrics(context, system)
    build_pictures(context, systems)


if __name__ == "__main__":
    run_stage(3, sys.argv[1:], extract_units, __doc__)
