"""The decoding half of stage 5: every model on every part by every method, then the scores of the two systems side by side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from spin import artifacts
from spin.asr.decoding import HLG, METHODS, GraphDecoder, best_path
from spin.asr.features import Batch, FeatureReader, collate, frames_of, open_cuts, sample_batches, text_of
from spin.asr.graphs import load_graph, prepare_graph
from spin.asr.lang import load_lang
from spin.asr.model import restore_model
from spin.asr.scoring import ErrorCounts, count_words
from spin.asr.summary import write_scores
from spin.asr.transcripts import Hypothesis, read_summary, write_decoding
from spin.config import Config
from spin.errors import ConfigError, DataError
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.files import read_json, write_json
from spin.runtime.logs import board, get_logger
from spin.runtime.stages import Context
from spin.runtime.workers import map_parts

TEXTS_SHOWN = 5


@dataclass(frozen=True)
class DecodeJob:
    """One model and all its decodings, for a process of its own."""

    config: Config
    exp: Path
    system: str
    seed: int


def decode(context: Context) -> None:
    """Decodes the test parts with every model and method, and writes artifacts.scores; what an earlier run finished is kept.

    Raises:
        ConfigError: an unknown method.
        DataError: models or features are missing.
    """
    config = context.config
    for method in config.decoding.methods:
        if method not in METHODS:
            raise ConfigError("decoding.methods", found=repr(method), expected=", ".join(METHODS))
    if HLG in config.decoding.methods:
        folder = artifacts.lang_folder(context.exp)
        prepare_graph(load_lang(folder), folder, artifacts.lm_text(context.corpus), config.decoding.lm_order)
    jobs = [DecodeJob(config, context.exp, system, seed) for seed in config.asr.seeds for system in artifacts.SYSTEMS]
    side_by_side = 1 if resolve_device(config.runtime.device).type == "cuda" else config.runtime.nj
    for _ in map_parts(decode_one, jobs, side_by_side):
        pass
    write_scores(context.exp, config)
    show(context)


def decode_one(job: DecodeJob) -> None:
    """All decodings of one model."""
    threads = torch.get_num_threads()
    prepare_cpu(job.config.asr.threads)
    try:
        Decoding(job).run()
    finally:
        torch.set_num_threads(threads)


class Decoding:
    """One model with its decoders; the model and the graph are loaded when something is left to do."""

    def __init__(self, job: DecodeJob):
        self.job, self.config = job, job.config.decoding
        self.log = get_logger("asr.decoding")
        self.device = resolve_device(job.config.runtime.device)
        self.lang = load_lang(artifacts.lang_folder(job.exp))
        self.reader = FeatureReader(0)
        self._model = None
        self._graph = None

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
        facts: dict = {}
        decoder = None
        if method == HLG:
            facts["lm_scale"] = self.lm_scale()
            decoder = self.graph_decoder(facts["lm_scale"])
        begun, seconds, empty, hypotheses = time.monotonic(), 0.0, 0, []
        for batch, speakers, log_probs, lengths in self.outputs([part]):
            texts = self.texts(decoder, log_probs, lengths)
            empty += sum(text is None for text in texts)
            seconds += batch.seconds
            rows = zip(batch.ids, batch.texts, texts)
            hypotheses += [Hypothesis(name, speakers[name], reference, text or "") for name, reference, text in rows]
        if not hypotheses:
            raise DataError(f"part {part}", found="no utterance", expected="at least one", remedy="see corpus.test")
        factor = (time.monotonic() - begun) / max(seconds, 1e-9)
        summary = write_decoding(place, hypotheses, {**facts, "empty_lattices": empty})
        self.log.info(
            "%s, seed %d, %s, %s: WER %.2f %%, CER %.2f %%, %d empty lattice(s), real-time factor %.3f",
            system, seed, part, method, summary["wer"], summary["cer"], empty, factor,
        )  # fmt: skip

    def texts(self, decoder: GraphDecoder | None, log_probs: torch.Tensor, lengths: torch.Tensor) -> list[str | None]:
        """Recognised texts of a batch; None for an empty lattice."""
        if decoder is None:
            return [self.lang.decode(ids) for ids in best_path(log_probs, lengths)]
        return decoder.best_texts(decoder.lattices(log_probs, lengths))

    def lm_scale(self) -> float:
        """The LM scale with the lowest WER on the valid parts, the smallest of equals; measured once for each model."""
        path = artifacts.lm_tuning(self.job.exp, self.job.system, self.job.seed)
        if path.exists():
            return read_json(path)["lm_scale"]
        scales = sorted(self.config.lm_scales)
        if len(scales) == 1:
            return scales[0]
        decoder = self.graph_decoder(sum(scales) / len(scales))
        counts = {scale: ErrorCounts() for scale in scales}
        for batch, _, log_probs, lengths in self.outputs(self.job.config.corpus.valid):
            lattices = decoder.lattices(log_probs, lengths)
            for scale in scales:
                for reference, text in zip(batch.texts, decoder.best_texts(lattices, scale)):
                    counts[scale] += count_words(reference, text or "")
        best = min(scales, key=lambda scale: (counts[scale].errors, scale))
        write_json(path, {"lm_scale": best, "wer": {str(scale): counts[scale].rate for scale in scales}})
        rates = ", ".join(f"{scale:g}: {counts[scale].rate:.2f} %" for scale in scales)
        self.log.info("%s, seed %d: valid WER by LM scale %s", self.job.system, self.job.seed, rates)
        return best

    def graph_decoder(self, scale: float) -> GraphDecoder:
        """A decoder whose search uses the LM scale."""
        if self._graph is None:
            path = artifacts.decoding_graph(artifacts.lang_folder(self.job.exp), self.config.lm_order)
            self._graph = load_graph(path, self.device)
        return GraphDecoder(self._graph, self.lang, self.config, scale)

    @torch.no_grad()
    def outputs(self, parts) -> Iterator[tuple[Batch, dict[str, str], torch.Tensor, torch.Tensor]]:
        """Batches of the parts with speakers, log-probabilities (B, T, V) and lengths (B,), in a fixed order."""
        cuts = open_cuts(self.job.exp, self.job.system, parts).filter(_decodable)
        count = sum(1 for _ in cuts)
        for batch_cuts in sample_batches(cuts, count, self.config.batch_seconds, None) if count else ():
            batch = collate(batch_cuts, self.reader)
            if self._model is None:
                path = artifacts.asr_model(self.job.exp, self.job.system, self.job.seed)
                model = restore_model(self.job.config.asr, path, self.lang.vocabulary_size, batch.features.shape[2])
                self._model = model.to(self.device)
            log_probs, lengths = self._model(batch.features.to(self.device), batch.lengths)
            yield batch, {cut.id: cut.supervisions[0].speaker or "" for cut in batch_cuts}, log_probs, lengths


def _decodable(cut) -> bool:
    return bool(text_of(cut)) and frames_of(cut) > 0


def show(context: Context) -> None:
    """TensorBoard: WER and CER of every decoding (the step is the seed), and some aligned texts."""
    config = context.config
    for system in artifacts.SYSTEMS:
        writer = board(context.tensorboard / system)
        for seed in config.asr.seeds:
            for part in config.corpus.test:
                for method in config.decoding.methods:
                    folder = artifacts.decode_folder(context.exp, system, seed, part, method)
                    summary = read_summary(folder)
                    for name in ("wer", "cer"):
                        writer.add_scalar(f"{name}/{part}/{method}", summary[name], seed)
                    blocks = artifacts.word_alignments(folder).read_text(encoding="utf-8").split("\n")[: 4 * TEXTS_SHOWN]
                    writer.add_text(f"{part}/{method}", "```\n" + "\n".join(blocks) + "\n```", seed)
        writer.close()
