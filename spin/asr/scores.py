"""Error rates of every system over all seeds, and the gain of each system over the baseline with its p-value: scores.json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from spin import artifacts
from spin.asr.inputs import FEATURES
from spin.asr.scoring import Counts, ErrorCounts, read_counts, read_summary, total
from spin.asr.significance import bootstrap_interval, paired_p_value, speaker_interval, speaker_p_value
from spin.config import Config
from spin.errors import DataError
from spin.products import test_parts


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
    for source in config.asr.inputs:
        suffix = "" if source == FEATURES else f"_from_{source}"
        rates: dict = {system: {} for system in systems}
        gains: dict = {system: {} for system in systems[1:]}
        for part in test_parts(config):
            for method in config.decoding.methods:
                pooled = {system: _read_pooled(exp, config, system, source, part, method) for system in systems}
                for system in systems:
                    rates[system].setdefault(part, {})[method] = pooled[system].score
                for system in systems[1:]:
                    gains[system].setdefault(part, {})[method] = compute_gain(pooled[systems[0]], pooled[system], config)
        scores |= {f"asr{suffix}": rates, f"gain{suffix}": gains}
    return scores


@dataclass(frozen=True)
class Pooled:
    """The decodings of one system over all seeds: counts by utterance for each seed, and its entry in scores.json."""

    name: str
    seeds: list[dict[str, Counts]]
    score: dict

    @property
    def utterances(self) -> list[str]:
        """Ids in their order."""
        return sorted(self.seeds[0])

    @property
    def errors(self) -> list[list[int]]:
        """(seeds, utterances) word errors."""
        return [[counts[name].words.errors for name in self.utterances] for counts in self.seeds]

    @property
    def speakers(self) -> list[ErrorCounts]:
        """Word counts summed over seeds and the utterances of each speaker, in the order of the speakers' names."""
        sums: dict[str, ErrorCounts] = {}
        for counts in self.seeds:
            for item in counts.values():
                sums[item.speaker] = sums.get(item.speaker, ErrorCounts()) + item.words
        return [sums[speaker] for speaker in sorted(sums)]


def _read_pooled(exp: Path, config: Config, system: str, source: str, part: str, method: str) -> Pooled:
    """Sums over seeds, and error rates with intervals."""
    folders = [artifacts.decoding_folder(exp, system, source, seed, part, method) for seed in config.asr.seeds]
    seeds = [read_counts(folder) for folder in folders]
    pooled = Pooled(f"decodings of {part} by {method}, {system}, {source}", seeds, {})
    for counts in seeds:
        _require_same(pooled.name, sorted(counts), pooled.utterances, "seed")
    all_words = total(pooled.speakers)
    references = [seeds[0][name].words.reference for name in pooled.utterances]
    samples, seed = config.decoding.bootstrap_samples, config.seed
    pooled.score.update(
        **_rates(item for counts in seeds for item in counts.values()),
        ci95=list(bootstrap_interval(pooled.errors, references, samples, seed)),
        words=all_words.reference,
        errors=all_words.errors,
        per_seed=[{"seed": number, **_rates(counts.values())} for number, counts in zip(config.asr.seeds, seeds)],
    )
    voices = pooled.speakers
    if len(voices) > 1:
        sums = [item.errors for item in voices], [item.reference for item in voices]
        pooled.score["ci95_speakers"] = list(speaker_interval(*sums, samples, seed))
    if "per" in read_summary(folders[0]):
        pooled.score["per"] = pooled.score["cer"] = pooled.score["wer"]
    return pooled


def _rates(counts: Iterable[Counts]) -> dict[str, float]:
    counts = list(counts)
    return {"wer": total(item.words for item in counts).rate, "cer": total(item.characters for item in counts).rate}


def compute_gain(before: Pooled, after: Pooled, config: Config) -> dict:
    """The gain of a system over the baseline, with paired tests.

    Raises:
        DataError: the systems have different utterances.
    """
    _require_same(after.name, after.utterances, before.utterances, "system")
    samples, seed = config.decoding.bootstrap_samples, config.seed
    differences = [old.errors - new.errors for old, new in zip(before.speakers, after.speakers)]
    per_seed = [
        {"seed": old["seed"], **_reductions(old, new)} for old, new in zip(before.score["per_seed"], after.score["per_seed"])
    ]
    return {
        **_reductions(before.score, after.score),
        "p_value": paired_p_value(before.errors, after.errors, samples, seed),
        **({"p_value_speakers": speaker_p_value(differences, samples, seed)} if len(differences) > 1 else {}),
        "per_seed": per_seed,
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
        raise DataError(
            name,
            found=f"{len(utterances)} utterances",
            expected=f"the same {len(expected)} utterances as with the first {what}",
            remedy="./run.sh --stage 3 --stop-stage 5 --force with the same --conf, --set and --exp-dir",
        )
