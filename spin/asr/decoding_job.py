"""All decodings of one model: scales tuned on the valid parts, then every test part by every method."""

from __future__ import annotations

import contextlib
import functools
import gzip
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from spin import artifacts
from spin.asr.decoding import CTC_1BEST, HLG, LATTICE, RESCORING, GraphDecoder
from spin.asr.decoding_batches import Survey, decoding_batches, piecewise, speaker_of, survey
from spin.asr.features import Batch, collate, open_cuts
from spin.asr.model import restore_model
from spin.asr.readers import open_reader
from spin.asr.recognise import Recognised, joined, kept_first, search_lang_folder, shared_recogniser
from spin.asr.scoring import ErrorCounts, count_words
from spin.asr.timings import ctm_lines, lattice_blocks
from spin.asr.transcripts import Hypothesis, read_summary, write_decoding
from spin.config import Config
from spin.errors import DataError
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.files import atomic_path, read_json, write_json, write_text
from spin.runtime.logs import get_logger


@dataclass(frozen=True)
class DecodeJob:
    """One model and all its decodings, for a process of its own."""

    config: Config
    exp: Path
    system: str
    seed: int


def decode_one(job: DecodeJob) -> None:
    """All decodings of one model."""
    threads = torch.get_num_threads()
    prepare_cpu(job.config.asr.threads)
    try:
        Decoding(job).run()
    finally:
        torch.set_num_threads(threads)


@dataclass
class Found:
    """What has been recognised of a part so far."""

    hypotheses: list[Hypothesis] = field(default_factory=list)
    seconds: float = 0.0
    empty: int = 0
    not_rescored: int = 0
    unpronounced: int = 0  # words of the references without a pronunciation
    without_times: int = 0  # recognised, but no pronunciation fits the tokens of the path
    times: dict[str, str] = field(default_factory=dict)  # lines of words.ctm by utterance


class Decoding:
    """One model with its recogniser; the model and the graphs are loaded when something is left to do."""

    def __init__(self, job: DecodeJob):
        self.job, self.config = job, job.config.decoding
        self.log = get_logger("asr.decoding")
        self.device = resolve_device(job.config.runtime.device)
        folder = search_lang_folder(self.config, job.exp)
        self.recogniser = shared_recogniser(folder, self.config, self.device)
        self.lang = self.recogniser.lang
        self.reader = open_reader(job.config, job.exp, job.system, 0)
        self._model = None
        self._surveys: dict[tuple[str, ...], Survey] = {}

    def run(self) -> None:
        """Decodes each test part by each method, where that is not done yet."""
        for method in self.config.methods:
            for part in self.job.config.corpus.test:
                place = (self.job.exp, self.job.system, self.job.seed, part, method)
                if read_summary(artifacts.decode_folder(*place)) is None:
                    self.decode_part(place)

    def decode_part(self, place: tuple[Path, str, int, str, str]) -> None:
        """Decodes one part by one method and writes its files."""
        _, system, seed, part, method = place
        facts, scales = self.scales(method)
        begun, found = time.monotonic(), Found()
        with self.lattice_file(place) as stream:
            for batch, speakers, log_probs, lengths in self.outputs([part]):
                work = functools.partial(self.recogniser.recognise, method, scales)
                pieces = piecewise(work, batch.ids, log_probs, lengths)
                self.take(found, method, batch, speakers, joined(pieces))
                names = iter(batch.ids)
                for piece in pieces:
                    of_piece = list(itertools.islice(names, len(piece.texts)))
                    if stream is not None and piece.lattices is not None:
                        stream.writelines(lattice_blocks(of_piece, piece.lattices, self.lang))
        if not found.hypotheses:
            raise DataError(f"part {part}", found="no utterance", expected="at least one", remedy="see corpus.test")
        facts.update(self.add_left_out(found, method, part))
        factor = (time.monotonic() - begun) / max(found.seconds, 1e-9)
        facts["empty_lattices"] = found.empty
        if method in RESCORING:
            facts["not_rescored"] = found.not_rescored
        if found.times:
            facts["without_times"] = found.without_times
            ctm = artifacts.word_times(artifacts.decode_folder(*place))
            write_text(ctm, "".join(found.times[name] for name in sorted(found.times)))
        symbols = "phones" if self.to_phones(method) else "words"
        if symbols == "phones":
            facts["words_without_pronunciation"] = found.unpronounced
        summary = write_decoding(place, found.hypotheses, facts, symbols)
        rate = "PER" if symbols == "phones" else "WER"
        self.log.info(
            "%s, seed %d, %s, %s: %s %.2f %%, CER %.2f %%, %d empty lattice(s), real-time factor %.3f",
            system, seed, part, method, rate, summary["wer"], summary["cer"], found.empty, factor,
        )  # fmt: skip

    def add_left_out(self, found: Found, method: str, part: str) -> dict[str, int]:
        """Counts as deletions what has a text and no frame; returns facts about what was not decoded."""
        surveyed = self.surveyed((part,))
        for name, speaker, text in surveyed.without_frames:
            found.hypotheses.append(Hypothesis(name, speaker, self.reference(method, text), ""))
            found.unpronounced += self.lang.unpronounced(text)
        return surveyed.facts

    def take(self, found: Found, method: str, batch: Batch, speakers: dict[str, str], recognised: Recognised) -> None:
        """Adds a batch to what was found."""
        found.seconds += batch.seconds
        found.empty += sum(text is None for text in recognised.texts)
        found.not_rescored += recognised.not_rescored
        for name, reference, text in zip(batch.ids, batch.texts, recognised.texts):
            found.unpronounced += self.lang.unpronounced(reference)
            found.hypotheses.append(Hypothesis(name, speakers[name], self.reference(method, reference), text or ""))
        shift = artifacts.FRAME_SHIFT_IN_S * self.job.config.asr.subsampling
        for name, spans, text in zip(batch.ids, recognised.times or (), recognised.texts):
            found.without_times += spans is None and bool(text)
            found.times[name] = ctm_lines(name, spans or (), shift)

    def reference(self, method: str, text: str) -> str:
        """What a hypothesis is held against: the words, or for the best path of a phone model their phones."""
        return self.lang.reference(text) if self.to_phones(method) else text

    def to_phones(self, method: str) -> bool:
        """Whether a method's texts are phones: the best path of a phone model."""
        return self.lang.kind == "phone" and method == CTC_1BEST

    @contextlib.contextmanager
    def lattice_file(self, place: tuple[Path, str, int, str, str]):
        """A text stream for the lattices of a decoding, or None where they are not wanted."""
        if not self.config.lattices or place[-1] not in (HLG, LATTICE):
            yield None
            return
        path = artifacts.lattice_texts(artifacts.decode_folder(*place))
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, gzip.open(temporary, "wt", encoding="utf-8") as stream:
            yield stream

    def scales(self, method: str) -> tuple[dict, tuple[float, float]]:
        """Scales of the LM in the search and in rescoring, as facts for the summary and as numbers."""
        if method == CTC_1BEST:
            return {}, (0.0, 0.0)
        search = self.lm_scale()
        if method not in RESCORING:
            return {"lm_scale": search}, (search, search)
        second = self.tuned(method, search)
        return {"search_lm_scale": search, "lm_scale": second}, (search, second)

    def lm_scale(self) -> float:
        """The LM scale of the search: that with the lowest WER on the valid parts, the smallest of equals."""
        scales = sorted(self.config.lm_scales)
        return self.tuned(HLG, sum(scales) / len(scales))

    def tuned(self, method: str, search_scale: float) -> float:
        """The scale with the lowest WER on the valid parts, the smallest of equals; measured once for each model and method."""
        job = self.job
        if method == HLG:
            path = artifacts.lm_tuning(job.exp, job.system, job.seed)
        else:
            path = artifacts.rescoring_tuning(job.exp, job.system, job.seed, method)
        if path.exists():
            return read_json(path)["lm_scale"]
        scales = sorted(self.config.lm_scales)
        if len(scales) == 1:
            return scales[0]
        search = self.recogniser.decoder(search_scale)
        counts = {scale: ErrorCounts() for scale in scales}
        for batch, _, log_probs, lengths in self.outputs(job.config.corpus.valid):
            work = functools.partial(self.texts_by_scale, method, search, scales)
            pieces = piecewise(work, batch.ids, log_probs, lengths)
            for scale in scales:
                for reference, text in zip(batch.texts, itertools.chain.from_iterable(piece[scale] for piece in pieces)):
                    counts[scale] += count_words(reference, text or "")
        best = min(scales, key=lambda scale: (counts[scale].errors, scale))
        write_json(path, {"lm_scale": best, "wer": {str(scale): counts[scale].rate for scale in scales}})
        rates = ", ".join(f"{scale:g}: {counts[scale].rate:.2f} %" for scale in scales)
        self.log.info("%s, seed %d, %s: valid WER by LM scale %s", job.system, job.seed, method, rates)
        return best

    def texts_by_scale(self, method: str, search: GraphDecoder, scales: list[float], log_probs, lengths) -> dict[float, list]:
        """Scale -> texts of a batch, those that Recogniser.recognise gives with that scale; one search for all."""
        lattices = search.lattices(log_probs, lengths)
        if method not in RESCORING:
            return {scale: search.best_texts(lattices, scale) for scale in scales}
        first = search.best_texts(lattices)
        rescored = self.recogniser.rescored(method, search, lattices, lengths)
        return {scale: kept_first(first, rescored.best_texts(scale)) for scale in scales}

    def surveyed(self, parts: tuple[str, ...]) -> Survey:
        """What of some parts can be decoded; what cannot is logged, once."""
        if parts not in self._surveys:
            found = survey(open_cuts(self.job.exp, self.job.system, parts), self.config.batch_seconds)
            self._surveys[parts] = found
            what = f"{self.job.system}, {', '.join(parts)}"
            if found.facts:
                self.log.warning(
                    "%s: %d utterance(s) without a transcript are left out, %d without a frame count as deletions",
                    what, found.without_text, len(found.without_frames),
                )  # fmt: skip
            if found.long:
                limit = self.config.batch_seconds
                self.log.info(
                    "%s: %d utterance(s) longer than decoding.batch_seconds (%g s), each alone", what, found.long, limit
                )
        return self._surveys[parts]

    @torch.no_grad()
    def outputs(self, parts) -> Iterator[tuple[Batch, dict[str, str], torch.Tensor, torch.Tensor]]:
        """Batches of the parts with speakers, log-probabilities (B, T, V) and lengths (B,), in a fixed order."""
        job = self.job
        surveyed = self.surveyed(tuple(parts))
        for batch_cuts in decoding_batches(open_cuts(job.exp, job.system, parts), surveyed, self.config.batch_seconds):
            batch = collate(batch_cuts, self.reader)
            if self._model is None:
                path = artifacts.asr_model(job.exp, job.system, job.seed)
                model = restore_model(job.config.asr, path, self.lang.vocabulary_size, tuple(batch.features.shape[2:]))
                self._model = model.to(self.device)
            log_probs, lengths = self._model(batch.features.to(self.device), batch.lengths)
            yield batch, {cut.id: speaker_of(cut) for cut in batch_cuts}, log_probs, lengths
