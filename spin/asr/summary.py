"""The scores of both systems over all seeds, and the gain of Spin with its p-value: artifacts.scores."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from spin import artifacts
from spin.asr.scoring import ErrorCounts, relative_reduction, total
from spin.asr.significance import bootstrap_interval, paired_p_value, speaker_interval, speaker_p_value
from spin.asr.transcripts import read_counts, read_speakers, read_summary
from spin.config import Config
from spin.errors import DataError
from spin.runtime.files import write_json


def write_scores(exp: Path, config: Config) -> dict:
    """Reads the counts of every decoding and writes artifacts.scores; returns what it wrote.

    "asr": system -> part -> method -> {wer, cer (percent, errors and symbols summed over seeds), ci95 (of the WER, over
    utterances and trainings), words, errors, per_seed: [{seed, wer, cer}]}; with several speakers also ci95_speakers (over
    speakers, whose utterances are no independent draws); of a phone recogniser's best path also per, and then wer and cer are it.
    "gain": part -> method -> {relative_wer_reduction, relative_cer_reduction (percent of the baseline's), p_value (paired, over
    utterances and trainings; p_value_speakers over speakers), per_seed: [{seed, relative_wer_reduction,
    relative_cer_reduction}]}. What the tests are, and what they assume: spin/asr/significance.py.
    """
    asr: dict = {system: {} for system in config.asr.systems}
    gain: dict = {}
    for part in config.corpus.test:
        for system in config.asr.systems:
            asr[system][part] = {}
        gain[part] = {}
        for method in config.decoding.methods:
            words, all_counts = {}, {}
            speakers = read_speakers(artifacts.decode_folder(exp, artifacts.SYSTEMS[0], config.asr.seeds[0], part, method))
            for system in config.asr.systems:
                counts = {
                    seed: read_counts(artifacts.decode_folder(exp, system, seed, part, method)) for seed in config.asr.seeds
                }
                words[system], all_counts[system] = _pooled(counts, 0), counts
                summary = read_summary(artifacts.decode_folder(exp, system, config.asr.seeds[0], part, method))
                asr[system][part][method] = _score(counts, words[system], config, speakers, summary)
            both = {system: asr[system][part][method] for system in artifacts.SYSTEMS}
            gain[part][method] = _gain(both, all_counts, words, config, (part, method), speakers)
    scores = {"asr": asr, "gain": gain}
    write_json(artifacts.scores(exp), scores)
    return scores


def _pooled(counts: dict[int, dict[str, tuple[ErrorCounts, ErrorCounts]]], kind: int) -> dict[str, ErrorCounts]:
    """Utterance -> counts summed over seeds; kind 0 for words, 1 for characters."""
    names = sorted({name for of_seed in counts.values() for name in of_seed})
    for seed, of_seed in counts.items():
        if len(of_seed) != len(names):
            raise DataError(
                f"decodings of seed {seed}", found=f"{len(of_seed)} utterances", expected=f"{len(names)}, as with other seeds"
            )
    return {name: total(of_seed[name][kind] for of_seed in counts.values()) for name in names}


def _errors(counts: dict[int, dict[str, tuple[ErrorCounts, ErrorCounts]]], names: Iterable[str]) -> list[list[int]]:
    """(seeds, utterances) word errors."""
    return [[of_seed[name][0].errors for name in names] for of_seed in counts.values()]


def _of_speakers(words: dict[str, ErrorCounts], speakers: dict[str, str]) -> list[ErrorCounts]:
    """Counts summed over the utterances of each speaker, in the order of the speakers' names."""
    sums: dict[str, ErrorCounts] = {}
    for name, counts in words.items():
        speaker = speakers.get(name, "")
        sums[speaker] = sums.get(speaker, ErrorCounts()) + counts
    return [sums[speaker] for speaker in sorted(sums)]


def _score(counts: dict, words: dict[str, ErrorCounts], config: Config, speakers: dict[str, str], summary: dict) -> dict:
    references = [item.reference // len(counts) for item in words.values()]
    all_words = total(words.values())
    low, high = bootstrap_interval(_errors(counts, words), references, config.decoding.bootstrap_samples, config.seed)
    per_seed = [
        {
            "seed": seed,
            "wer": total(word for word, _ in of_seed.values()).rate,
            "cer": total(character for _, character in of_seed.values()).rate,
        }
        for seed, of_seed in counts.items()
    ]
    score = {
        "wer": all_words.rate,
        "cer": total(_pooled(counts, 1).values()).rate,
        "ci95": [low, high],
        "words": all_words.reference,
        "errors": all_words.errors,
        "per_seed": per_seed,
    }
    voices = _of_speakers(words, speakers)
    if len(voices) > 1:
        sums = [item.errors for item in voices], [item.reference for item in voices]
        score["ci95_speakers"] = list(speaker_interval(*sums, config.decoding.bootstrap_samples, config.seed))
    if "per" in summary:
        score["per"] = score["cer"] = score["wer"]
    return score


def _gain(scores: dict, counts: dict, words: dict, config: Config, what: tuple[str, str], speakers: dict[str, str]) -> dict:
    before, after = (scores[system] for system in artifacts.SYSTEMS)
    first, second = (words[system] for system in artifacts.SYSTEMS)
    if first.keys() != second.keys():
        raise DataError(
            f"decodings {what}", found="other utterances in the two systems", expected="the same", remedy="stage 5 with --force"
        )
    errors = [_errors(counts[system], first) for system in artifacts.SYSTEMS]
    voices = [_of_speakers(each, speakers) for each in (first, second)]
    differences = [old.errors - new.errors for old, new in zip(*voices)]
    samples, seed = config.decoding.bootstrap_samples, config.seed
    return {
        **_reductions(before, after),
        "p_value": paired_p_value(*errors, samples, seed),
        **({"p_value_speakers": speaker_p_value(differences, samples, seed)} if len(differences) > 1 else {}),
        "per_seed": [{"seed": old["seed"], **_reductions(old, new)} for old, new in zip(before["per_seed"], after["per_seed"])],
    }


def _reductions(before: dict, after: dict) -> dict:
    return {f"relative_{name}_reduction": relative_reduction(before[name], after[name]) for name in ("wer", "cer")}
