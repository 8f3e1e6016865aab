"""scores.json: error rates of every system over all seeds, and the gain of each system over the baseline with its p-value."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from spin import artifacts, products
from spin.asr.decoders import DECODERS
from spin.asr.inputs import FEATURES
from spin.asr.scoring import Counts, ErrorCounts, read_counts, total
from spin.asr.significance import bootstrap_interval, paired_p_value, speaker_interval, speaker_p_value
from spin.config import Config
from spin.errors import DataError, rerun
from spin.runtime.files import read_json, write_json
from spin.runtime.logs import summary_writer
from spin.runtime.product import Context, Product
from spin.systems import System

Seeds = list[dict[str, Counts]]  # of one system, part and method: for each seed, utterance id -> its edits


def build_scores(context: Context, systems: Sequence[System], decodings: Sequence[Product]) -> Product:
    """Scores all decodings, and shows them in TensorBoard."""
    product = products.scores(context, decodings)
    if product.needs_build():
        with product.building() as path:
            write_json(path, compute_scores(context.exp, context.config, [system.name for system in systems]))
        for system in systems:
            show_decodings(context, system.name)
    return product


def show_decodings(context: Context, system: str) -> None:
    """TensorBoard: WER and CER of every decoding of a system; the step is the seed."""
    asr, decoding = context.config.asr, context.config.decoding
    writer = summary_writer(context.tensorboard / system)
    every = itertools.product(asr.inputs, asr.seeds, products.test_parts(context.config), decoding.methods)
    for input_kind, seed, part, method in every:
        folder = artifacts.decoding_folder(context.exp, system, input_kind, seed, part, method)
        summary, name = read_json(artifacts.decode_summary(folder)), f"{input_kind}/{part}/{method}"
        for rate in ("wer", "cer"):
            writer.add_scalar(f"{rate}/{name}", summary[rate], seed)
    writer.close()


def compute_scores(exp: Path, config: Config, systems: Sequence[str]) -> dict:
    """The content of scores.json from the counts of every decoding; `systems` are names, baseline first.

    "asr": system -> part -> method -> {wer, cer (percent; errors and symbols are summed over seeds), ci95 (of the WER, over
    utterances and trainings), words, errors, per_seed: [{seed, wer, cer}]}. With several speakers also ci95_speakers (over
    speakers, whose utterances are not independent draws). For phones also per, and then wer and cer equal it.
    "gain": system -> part -> method -> {relative_wer_reduction, relative_cer_reduction (percent of the baseline's), p_value
    (paired, over utterances and trainings; p_value_speakers over speakers), per_seed}, for each system but the baseline.
    "asr_from_units" and "gain_from_units": the same for recognisers on units.
    """
    scores: dict = {"asr": {}, "gain": {}}
    (baseline, *others), parts = systems, products.test_parts(config)
    for input_kind in config.asr.inputs:
        rates: dict = {system: {part: {} for part in parts} for system in systems}
        gains: dict = {system: {part: {} for part in parts} for system in others}
        for part, method in itertools.product(parts, config.decoding.methods):
            decodings = read_decodings(exp, config, systems, input_kind, part, method)
            in_phones = config.asr.tokens == "phone" and not DECODERS[method].graphs
            for system in systems:
                rates[system][part][method] = compute_rates(decodings[system], config, in_phones)
            for system in others:
                pair = rates[baseline][part][method], rates[system][part][method]
                gains[system][part][method] = compute_gain(*pair, decodings[baseline], decodings[system], config)
        suffix = "" if input_kind == FEATURES else f"_from_{input_kind}"
        scores |= {f"asr{suffix}": rates, f"gain{suffix}": gains}
    return scores


def read_decodings(
    exp: Path, config: Config, systems: Sequence[str], input_kind: str, part: str, method: str
) -> dict[str, Seeds]:
    """System -> the counts of its seeds; raises DataError where two decodings have different utterances."""
    decodings: dict[str, Seeds] = {}
    for system in systems:
        folders = (artifacts.decoding_folder(exp, system, input_kind, seed, part, method) for seed in config.asr.seeds)
        decodings[system] = [read_counts(folder) for folder in folders]
    expected = decodings[systems[0]][0].keys()
    for system, seeds in decodings.items():
        for counts in seeds:
            if counts.keys() != expected:
                first = min(counts.keys() ^ expected)
                raise DataError(
                    f"decodings of {part} by {method}, {system}, {input_kind}",
                    found=f"{len(counts)} utterances; {first} is {'new' if first in counts else 'missing'}",
                    expected=f"the same {len(expected)} utterances as with the first system and seed",
                    remedy=rerun(3, 5),
                )
    return decodings


def compute_rates(seeds: Seeds, config: Config, in_phones: bool) -> dict:
    """The entry of one system in "asr"; `in_phones` where words are phones."""
    words, references = _word_errors(seeds), [seeds[0][name].words.reference for name in sorted(seeds[0])]
    speakers, samples = _sum_by_speaker(seeds), (config.decoding.bootstrap_samples, config.seed)
    score = {
        **_rates(counts for own in seeds for counts in own.values()),
        "ci95": list(bootstrap_interval(words, references, *samples)),
        "words": total(speakers).reference,
        "errors": total(speakers).errors,
        "per_seed": [{"seed": number, **_rates(own.values())} for number, own in zip(config.asr.seeds, seeds)],
    }
    if len(speakers) > 1:
        sums = [counts.errors for counts in speakers], [counts.reference for counts in speakers]
        score["ci95_speakers"] = list(speaker_interval(*sums, *samples))
    if in_phones:
        score["per"] = score["cer"] = score["wer"]
    return score


def compute_gain(before: dict, after: dict, baseline: Seeds, other: Seeds, config: Config) -> dict:
    """The entry of one system in "gain", from the entries of the baseline and its own in "asr", and their counts."""
    samples = config.decoding.bootstrap_samples, config.seed
    differences = [old.errors - new.errors for old, new in zip(_sum_by_speaker(baseline), _sum_by_speaker(other))]
    return {
        **_reductions(before, after),
        "p_value": paired_p_value(_word_errors(baseline), _word_errors(other), *samples),
        **({"p_value_speakers": speaker_p_value(differences, *samples)} if len(differences) > 1 else {}),
        "per_seed": [{"seed": old["seed"], **_reductions(old, new)} for old, new in zip(before["per_seed"], after["per_seed"])],
    }


def _word_errors(seeds: Seeds) -> list[list[int]]:
    """(S, N) of each seed and utterance, in the order of their ids."""
    return [[counts[name].words.errors for name in sorted(counts)] for counts in seeds]


def _sum_by_speaker(seeds: Seeds) -> list[ErrorCounts]:
    """Word counts of each speaker over seeds and utterances, in the order of the speakers' names."""
    sums: dict[str, ErrorCounts] = {}
    for counts in seeds:
        for own in counts.values():
            sums[own.speaker] = sums.get(own.speaker, ErrorCounts()) + own.words
    return [sums[speaker] for speaker in sorted(sums)]


def _rates(counts: Iterable[Counts]) -> dict[str, float]:
    counts = list(counts)
    return {"wer": total(own.words for own in counts).rate, "cer": total(own.characters for own in counts).rate}


def _reductions(before: dict, after: dict) -> dict:
    return {f"relative_{name}_reduction": relative_reduction(before[name], after[name]) for name in ("wer", "cer")}


def relative_reduction(before: float, after: float) -> float:
    """Reduction from `before` to `after` in percent of `before`; 0 where `before` is 0.

    >>> relative_reduction(40.0, 30.0)
    25.0
    """
    return 100.0 * (before - after) / before if before else 0.0
