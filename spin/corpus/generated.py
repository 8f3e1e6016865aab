"""The embedded corpus: sentences of a small grammar in generated eSpeak NG voices, with exact transcripts and phones."""

import dataclasses
import functools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from spin import artifacts
from spin.config import Config, GeneratedPart
from spin.corpus.grammar import draw_sentence
from spin.corpus.registry import CUT, ID, Corpus
from spin.errors import ConfigError
from spin.runtime.files import read_json
from spin.runtime.logs import progress

LM_SPEAKER = 1_000_000  # a number that no speaker has: the extra sentences for the LM belong to nobody
PRETRAIN_VALID = "pretrain_valid"  # the part that validates the pre-training; it speaks the sentences kept for validation


class GeneratedCorpus(Corpus):
    """The parts that corpus.parts defines."""

    has_alignments = True

    def check(self, parts: Sequence[str], log: logging.Logger) -> None:
        if (found := self.config.corpus.alignment) != "auto":
            expected = "auto: the generated corpus brings its exact alignments"
            raise ConfigError("corpus.alignment", found=found, expected=expected, remedy="--set corpus.alignment=auto")
        for part in parts:
            self._definition(part)

    def fingerprint(self, part: str) -> dict:
        definition = dataclasses.asdict(self._definition(part))
        return {f"corpus.parts.{part}": definition, f"sentences of {part}": pool_of(self.config, part)}

    def read(self, part: str, nj: int) -> Iterator[dict]:
        from spin.corpus.voices import render_speaker  # a fingerprint needs no voices
        from spin.runtime.workers import map_jobs

        definition, folder = self._definition(part), artifacts.generated_audio(self.folder) / part
        pool = pool_of(self.config, part)
        render = functools.partial(render_speaker, folder=folder, utterances=definition.utterances, pool=pool)
        speakers = range(definition.first_speaker, definition.first_speaker + definition.speakers)
        spoken = map_jobs(render, speakers, nj)
        for path in progress(spoken, f"speak {part}", len(speakers)):
            yield from _records(path)

    def lm_sentences(self) -> Iterator[str]:
        """corpus.lm_sentences sentences of the training pool."""
        for number in range(self.config.corpus.lm_sentences):
            yield draw_sentence(LM_SPEAKER, number, "train")

    def _definition(self, part: str) -> GeneratedPart:
        parts = self.config.corpus.parts
        if part not in parts:
            expected = f"one of {', '.join(parts) or 'none defined'}"
            remedy = "add it to corpus.parts, or correct corpus.spin_train, asr_train, valid and test"
            raise ConfigError(f"corpus.parts.{part}", found="not defined", expected=expected, remedy=remedy)
        return parts[part]


def pool_of(config: Config, part: str) -> str:
    """The pool of sentences of a part: by its role, so that no test or valid sentence is ever trained on."""
    if part in config.corpus.test:
        return "test"
    return "valid" if part in (*config.corpus.valid, PRETRAIN_VALID) else "train"


def _records(path: Path) -> Iterator[dict]:
    from lhotse import MonoCut, Recording, SupervisionSegment  # they import torch, which a finished stage must not
    from lhotse.audio import AudioSource
    from lhotse.supervision import AlignmentItem

    speaker = read_json(path)
    facts = {"language": "English", "speaker": speaker["speaker"], "gender": speaker["gender"], "channel": 0}
    for utterance in speaker["utterances"]:
        identity, samples = utterance["id"], utterance["samples"]
        duration = samples / artifacts.SAMPLE_RATE
        audio = (path.parent / speaker["speaker"] / f"{identity}.flac").resolve()
        source = AudioSource(type="file", channels=[0], source=str(audio))
        recording = Recording(identity, [source], artifacts.SAMPLE_RATE, samples, duration, channel_ids=[0])
        phones = [AlignmentItem(phone, start, round(stop - start, 5)) for phone, start, stop in utterance["phones"]]
        tiers = {artifacts.PHONE_TIER: phones}
        supervision = SupervisionSegment(identity, identity, 0.0, duration, text=utterance["text"], alignment=tiers, **facts)
        cut = MonoCut(identity, start=0.0, duration=duration, channel=0, supervisions=[supervision], recording=recording)
        yield {ID: identity, CUT: cut.to_dict()}
