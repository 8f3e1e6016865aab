"""Error rates of every system over all seeds, and the gain of each system over the baseline with its p-value: scores.json."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spin import artifacts
from spin.asr.inputs import FEATURES
from spin.asr.scoring import Counts, ErrorCounts, read_counts, total
from spin.asr.significance import bootstrap_interval, paired_p_value, speaker_interval, speaker_p_value
from spin.config import Config
from spin.errors import DataError, rerun
from spin.products import test_parts
from spin.runtime.files import read_json


def compute_scores(exp: Path, config: Config, systems: Sequence[str]) -> dict:
    """The content of scores.json from the counts of every decoding; `systems` are names, baseline first.

    "asr": system -> part -> method -> {wer, cer (percent; errors and symbols are summed over seeds), ci95 (of the WER, over
    utterances and trainings), words, errors, per_seed: [{seed, wer, cer}]}. With several speakers also ci95_speakers (over
    speakers, whose utterances are not independent draws). For phones also per, and then wer and cer equal it.
    "gain": system -> part -> method -> {relative_wer_reduction, relative_cer_reduction (percent of the baseline's), p_value
    (paired, over utterances and trainings; p_value_speakers over speakers), per_seed}, for each system but the baseline.
    "asr_from_units" and "gain_from_units": the same for recognisers on units.

    Raises:
        DataError: two decodings of a part have different utterances.
    """
    scores: dict = {"asr": {}, "gain": {}}
    for input_kind in config.asr.inputs:
        rates: dict = {system: {part: {} for part in test_parts(config)} for system in systems}
        gains: dict = {system: {part: {} for part in test_parts(config)} for system in systems[1:]}
        for part in test_parts(config):
            for method in config.decoding.methods:
                baseline, *others = (_read_pooled(exp, config, system, input_kind, part, method) for system in systems)
                for pooled in (baseline, *others):
                    rates[pooled.system][part][method] = pooled.score
                for pooled in others:
                    gains[pooled.system][part][method] = compute_gain(baseline, pooled, config)
        suffix = "" if input_kind == FEATURES else f"_from_{input_kind}"
        scores |= {f"asr{suffix}": rates, f"gain{suffix}": gains}
    return scores


@dataclass(frozen=True)
class Pooled:
    """The decodings of one system over all seeds.

    Attributes:
        name: for messages.
        utterances: ids in their order.
        errors: (seeds, utterances) word errors.
        speakers: word counts summed over seeds and the utterances of each speaker, in the order of the speakers' names.
        score: entry in scores.json.
    """

    system: str
    name: str
    utterances: list[str]
    errors: list[list[int]]
    speakers: list[ErrorCounts]
    score: dict


def _read_pooled(exp: Path, config: Config, system: str, input_kind: str, part: str, method: str) -> Pooled:
    """Sums over seeds, and error rates with intervals."""
    name = f"decodings of {part} by {method}, {system}, {input_kind}"
    folders = [artifacts.decoding_folder(exp, system, input_kind, seed, part, method) for seed in config.asr.seeds]
    seeds = [read_counts(folder) for folder in folders]
    utterances = sorted(seeds[0])
    by_speaker: dict[str, ErrorCounts] = {}
    for counts in seeds:
        _require_same(name, sorted(counts), utterances, "seed")
        for item in counts.values():
            by_speaker[item.speaker] = by_speaker.get(item.speaker, ErrorCounts()) + item.words
    errors = [[counts[utterance].words.errors for utterance in utterances] for counts in seeds]
    references = [seeds[0][utterance].words.reference for utterance in utterances]
    speakers = [by_speaker[speaker] for speaker in sorted(by_speaker)]
    samples = config.decoding.bootstrap_samples, config.seed
    score = {
        **_rates(item for counts in seeds for item in counts.values()),
        "ci95": list(bootstrap_interval(errors, references, *samples)),
        "words": total(speakers).reference,
        "errors": total(speakers).errors,
        "per_seed": [{"seed": number, **_rates(counts.values())} for number, counts in zip(config.asr.seeds, seeds)],
    }
    if len(speakers) > 1:
        sums = [item.errors for item in speakers], [item.reference for item in speakers]
        score["ci95_speakers"] = list(speaker_interval(*sums, *samples))
    if "per" in read_json(artifacts.decode_summary(folders[0])):
        score["per"] = score["cer"] = score["wer"]
    return Pooled(system, name, utterances, errors, speakers, score)


def _rates(counts: Iterable[Counts]) -> dict[str, float]:
    counts = list(counts)
    return {"wer": total(item.words for item in counts).rate, "cer": total(item.characters for item in counts).rate}


def compute_gain(before: Pooled, after: Pooled, config: Config) -> dict:
    """The gain of a system over the baseline, with paired tests.

    Raises:
        DataError: the systems have different utterances.
    """
    _require_same(after.name, after.utterances, before.utterances, "system")
    samples = config.decoding.bootstrap_samples, config.seed
    differences = [old.errors - new.errors for old, new in zip(before.speakers, after.speakers)]
    seeds = zip(before.score["per_seed"], after.score["per_seed"])
    return {
        **_reductions(before.score, after.score),
        "p_value": paired_p_value(before.errors, after.errors, *samples),
        **({"p_value_speakers": speaker_p_value(differences, *samples)} if len(differences) > 1 else {}),
        "per_seed": [{"seed": old["seed"], **_reductions(old, new)} for old, new in seeds],
    }


def _reductions(before: dict, after: dict) -> dict:
    return {f"relative_{name}_reduction": relative_reduction(before[name], after[name]) for name in ("wer", "cer")}


def relative_reduction(before: float, after: float) -> float:
    """Reduction from `before` to `after` in percent of `before`; 0 where `before` is 0.

    >>> relative_reduction(40.0, 30.0)
    25.0
    """
    return 100.0 * (before - after) / before if before else 0.0


def _require_same(name: str, utterances: list[str], expected: list[str], what: str) -> None:
    if utterances != expected:
        first = min(set(utterances) ^ set(expected))
        raise DataError(
            name,
            found=f"{len(utterances)} utterances; {first} is {'new' if first in utterances else 'missing'}",
            expected=f"the same {len(expected)} utterances as with the first {what}",
            remedy=rerun(3, 5),
        )
