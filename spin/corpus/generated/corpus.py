"""The generated corpus as lhotse manifests: speakers spoken in parallel, each in a process of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.config import Config, GeneratedPart
from spin.corpus.generated.render import SpeakerJob, draw_sentence, render_speaker
from spin.errors import ConfigError
from spin.runtime.files import read_json, write_text
from spin.runtime.manifests import write_manifest
from spin.runtime.workers import map_fresh

LM_SPEAKER = 1_000_000  # a number no speaker has: the further sentences for the LM are nobody's


def prepare_parts(config: Config, corpus: Path, part_names: Iterable[str], nj: int, log: logging.Logger) -> None:
    """Generates the audio of the named parts and writes their manifests and the LM's text.

    Raises:
        ConfigError: a part that corpus.parts does not define.
    """
    for name in part_names:
        part = config.corpus.parts.get(name)
        if part is None:
            raise ConfigError(
                f"corpus.parts.{name}", found="not defined", expected=f"one of {', '.join(config.corpus.parts) or 'none defined'}"
            )
        records = _render(part, pool_of(config, name), config.corpus.generated_seed, artifacts.generated_audio(corpus) / name, nj)
        count = write_manifest(artifacts.cuts(corpus, name), (cut.to_dict() for cut in _cuts(records)))
        log.info("part %s: %d speakers, %d utterances generated", name, part.speakers, count)
    write_text(artifacts.lm_text(corpus), "".join(f"{text}\n" for text in lm_sentences(config, corpus)))


def pool_of(config: Config, part: str) -> str:
    """The pool of sentences of a part: by its role, so that no test or valid sentence is ever trained on."""
    if part in config.corpus.test:
        return "test"
    return "valid" if part in (*config.corpus.valid, *config.pretrain.valid_parts) else "train"


def lm_sentences(config: Config, corpus: Path) -> Iterator[str]:
    """The transcripts of the ASR training parts, then `corpus.lm_sentences` more of the training pool."""
    for part in config.corpus.asr_train:
        for path in sorted(artifacts.generated_audio(corpus).joinpath(part).glob("*.json")):
            yield from (utterance["text"] for utterance in read_json(path)["utterances"])
    for number in range(config.corpus.lm_sentences):
        yield draw_sentence(config.corpus.generated_seed, LM_SPEAKER, number, "train")


def _render(part: GeneratedPart, pool: str, seed: int, folder: Path, nj: int) -> list[Path]:
    indices = range(part.first_speaker, part.first_speaker + part.speakers)
    jobs = [SpeakerJob(str(folder), seed, index, part.utterances, pool) for index in indices]
    return [Path(path) for path in map_fresh(render_speaker, jobs, nj, "spin.corpus.generated.render")]


def _cuts(records: list[Path]) -> Iterator[MonoCut]:
    for path in records:
        record = read_json(path)
        for utterance in record["utterances"]:
            yield _cut(utterance, record, path.parent / record["speaker"] / f"{utterance['id']}.flac")


def _cut(utterance: dict, record: dict, audio: Path) -> MonoCut:
    identity, samples = utterance["id"], utterance["samples"]
    duration = samples / artifacts.SAMPLE_RATE
    source = AudioSource(type="file", channels=[0], source=str(audio.resolve()))
    recording = Recording(identity, [source], artifacts.SAMPLE_RATE, samples, duration, channel_ids=[0])
    phones = [AlignmentItem(phone, start, round(stop - start, 5)) for phone, start, stop in utterance["phones"]]
    supervision = SupervisionSegment(
        id=identity,
        recording_id=identity,
        start=0.0,
        duration=duration,
        channel=0,
        text=utterance["text"],
        language="English",
        speaker=record["speaker"],
        gender=record["gender"],
        alignment={artifacts.PHONE_TIER: phones},
    )
    return MonoCut(identity, start=0.0, duration=duration, channel=0, supervisions=[supervision], recording=recording)
