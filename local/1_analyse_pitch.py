#!/usr/bin/env python3
"""Stage 1: pitch contour, pulses and each speaker's pitch range, analysed once for the speaker perturbation."""

import sys

from spin import artifacts, products
from spin.runtime.files import read_json, write_json
from spin.runtime.product import Context
from spin.runtime.stage import run_stage


def analyse_pitch(context: Context) -> None:
    """Estimates the pitch range of every training speaker, then analyses every training utterance in its speaker's range."""
    if artifacts.SPIN not in context.config.systems:
        context.log.info("no system is trained (systems lacks 'spin'): skipped")
        return
    parts = list(context.config.corpus.spin_train)
    estimate_speakers(context, parts)
    stale = [part for part in parts if products.pitch(context, part).needs_build()]
    for part in stale:
        analyse(context, part)
    if stale:
        from spin.perturbation.tensorboard import show_perturbation

        manifests = {part: artifacts.cuts_in(products.pitch(context, part).require()) for part in parts}
        show_perturbation(context.tensorboard, manifests, context.config)


def estimate_speakers(context: Context, parts: list[str]) -> None:
    """speaker_pitch.json: floor, ceiling and median of every speaker in Hz, from at most ten minutes of speech each."""
    product = products.speaker_pitch(context)
    if not product.needs_build():
        return
    from spin.perturbation.analyse_corpus import estimate_ranges  # compiled code is loaded only for work
    from spin.perturbation.perturb import compile_kernels

    config = context.config
    compile_kernels()
    with product.building() as partial:
        manifests = [products.manifest(context, part).require() for part in parts]
        ranges = estimate_ranges(manifests, config.perturbation, config.runtime.nj)
        write_json(partial, {speaker: found._asdict() for speaker, found in ranges.items()})
    for speaker, found in ranges.items():
        context.log.info("speaker %s: %.0f to %.0f Hz, median %.0f Hz", speaker, found.floor, found.ceiling, found.median)


def analyse(context: Context, part: str) -> None:
    """pitch/<part>/: the cuts of the part with pitch contour and pulses. An interrupted run resumes."""
    from spin.perturbation.analyse_corpus import analyse_part
    from spin.perturbation.perturb import compile_kernels

    config = context.config
    compile_kernels()
    with products.pitch(context, part).building() as partial:
        manifest, ranges = products.manifest(context, part).require(), read_ranges(context)
        analyse_part(manifest, part, ranges, partial, config.runtime.nj, config.corpus.max_bad_share, context.log)


def read_ranges(context: Context) -> dict:
    """Pitch range by speaker."""
    from spin.perturbation.analysis import PitchRange

    return {speaker: PitchRange(**found) for speaker, found in read_json(products.speaker_pitch(context).require()).items()}


if __name__ == "__main__":
    run_stage(1, sys.argv[1:], analyse_pitch, __doc__)
