"""Any corpus of lhotse cut manifests: one utterance per supervision, copied to 16 kHz and one channel where it is not so.

An utterance that is a whole recording of 16 kHz and one channel is used where it lies. Any other one (another rate, several
channels, a stretch of a longer recording) is mixed down, resampled and copied to data/<corpus>/audio/<part>/<id>.flac by lhotse.
Cuts without a supervision are chunked into pieces of at most corpus.max_duration_in_s, which can train Spin but no recogniser.
"""

import functools
import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.cut import MultiCut
from lhotse.serialization import deserialize_item
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.config import CorpusConfig
from spin.corpus.alignment import plain_phone
from spin.corpus.librispeech import check_duration, check_text
from spin.corpus.parts import check_cut
from spin.corpus.registry import ID, REASON, Corpus, Rejected, make_record
from spin.data.audio import UnreadableAudio, read_audio
from spin.data.cuts import read_cuts, read_records
from spin.errors import ConfigError
from spin.runtime.files import atomic_path, content_digest
from spin.runtime.logs import progress
from spin.runtime.workers import map_jobs

_PER_JOB = 32  # cuts


class LhotseManifests(Corpus):
    """The parts that corpus.manifests names."""

    def check(self, parts: Sequence[str], log: logging.Logger) -> None:
        for part in parts:
            next(read_cuts(self._manifest(part)), None)

    def fingerprint(self, part: str) -> dict:
        manifest = self._manifest(part)
        return {f"manifest of {part}": content_digest(manifest), f"transcripts of {part}": self._needs_text(part)}

    def read(self, part: str, nj: int) -> Iterator[dict]:
        records = read_records(self._manifest(part))
        batches = iter(lambda: list(itertools.islice(records, _PER_JOB)), [])
        folder, needs_text = artifacts.generated_audio(self.folder) / part, self._needs_text(part)
        work = functools.partial(_read_batch, folder=folder, corpus=self.config.corpus, needs_text=needs_text)
        for results in progress(map_jobs(work, batches, nj), f"read {part}"):
            yield from results

    def _needs_text(self, part: str) -> bool:
        corpus = self.config.corpus
        return part in (*corpus.asr_train, *corpus.valid, *corpus.test)

    def _manifest(self, part: str) -> Path:
        manifests, key = self.config.corpus.manifests, f"corpus.manifests.{part}"
        if part not in manifests:
            expected = "a cut manifest of lhotse, .jsonl or .jsonl.gz"
            raise ConfigError(key, found="not set", expected=expected, remedy=f"--set {key}=FILE")
        return Path(manifests[part])


def split_cut(cut: MonoCut | MultiCut, longest: float) -> Iterator[tuple[MonoCut | MultiCut, SupervisionSegment]]:
    """Yields one piece per supervision with that supervision; of a cut without any, chunks of equal length.

    A single supervision keeps the id of its cut. Several keep the ids of the supervisions. Chunks, of at most `longest` seconds,
    are numbered.
    """
    for given in cut.supervisions:
        piece = cut.truncate(offset=max(0.0, given.start), duration=given.duration, keep_excessive_supervisions=False)
        yield piece.with_id(cut.id if len(cut.supervisions) == 1 else given.id), given
    count = 0 if cut.supervisions else max(1, math.ceil(cut.duration / longest))
    for number in range(count):
        piece = cut.truncate(offset=cut.duration * number / count, duration=cut.duration / count)
        identity = cut.id if count == 1 else f"{cut.id}-{number:04d}"
        yield piece.with_id(identity), SupervisionSegment(identity, cut.recording_id, 0.0, piece.duration)


def _read_batch(records: list[dict], folder: Path, corpus: CorpusConfig, needs_text: bool) -> list[dict]:
    results = []
    for record in records:
        identity, kind = str(record.get("id")), record.get("type")
        if kind not in ("MonoCut", "MultiCut") or not record.get("recording"):
            results.append({ID: identity, REASON: f"not a stretch of one recording: {kind}"})
            continue
        for piece, given in split_cut(deserialize_item(record), corpus.max_duration_in_s):
            results.append(make_record(piece.id, _read_utterance, piece, given, folder, corpus, needs_text))
    return results


def _read_utterance(
    cut: MonoCut | MultiCut, given: SupervisionSegment, folder: Path, corpus: CorpusConfig, needs_text: bool
) -> dict:
    """The cut as stage 0 writes it: of the whole recording, with one supervision; the recording may stand for the speaker."""
    if len(cut.id.split()) != 1 or "/" in cut.id or cut.id.startswith("."):
        raise Rejected(f"id {cut.id[:40]!r}: it has a blank or a slash, or begins with a full stop")
    text = check_text(given.text or "") if given.text or needs_text else ""
    check_duration(cut.duration, corpus)
    try:
        samples = read_audio(cut if cut.sampling_rate == artifacts.SAMPLE_RATE else cut.resample(artifacts.SAMPLE_RATE))
    except UnreadableAudio as error:
        raise Rejected(str(error)) from error
    if not np.isfinite(samples).all() or len(samples) == 0 or np.ptp(samples) == 0:
        raise Rejected("empty audio: every sample is the same, or not finite")
    recording = _recording(cut, samples, folder)
    facts = {"language": given.language, "gender": given.gender, "speaker": given.speaker or cut.recording_id}
    tiers = _alignment(given, recording.duration)
    supervision = SupervisionSegment(cut.id, cut.id, 0.0, recording.duration, channel=0, text=text, alignment=tiers, **facts)
    result = MonoCut(cut.id, start=0.0, duration=recording.duration, channel=0, supervisions=[supervision], recording=recording)
    if problem := check_cut(result):
        raise Rejected(f"invalid cut: {problem}")
    return result.to_dict()


def _recording(cut: MonoCut | MultiCut, samples: np.ndarray, folder: Path) -> Recording:
    """The cut's own recording where it is whole, 16 kHz and one channel; else a copy."""
    recording = cut.recording
    plain = recording.sampling_rate == artifacts.SAMPLE_RATE and recording.num_channels == 1 and not recording.has_video
    source = recording.sources[0]
    if plain and cut.num_samples == recording.num_samples and source.type == "file" and not recording.transforms:
        path = Path(source.source).absolute()
    else:
        path = (folder / f"{cut.id}.flac").absolute()
        with atomic_path(path) as temporary:
            soundfile.write(temporary, np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16), artifacts.SAMPLE_RATE)
    return Recording.from_file(path, recording_id=cut.id)


def _alignment(given: SupervisionSegment, duration: float) -> dict[str, list[AlignmentItem]] | None:
    """The phones and words that the manifest brings, in seconds from the start of the utterance."""
    tiers = {}
    for tier, rename in ((artifacts.PHONE_TIER, plain_phone), (artifacts.WORD_TIER, str)):
        items = []
        for item in (given.alignment or {}).get(tier) or ():
            start, end = item.start - given.start, min(item.end - given.start, duration)
            if end > start:
                items.append(AlignmentItem(rename(item.symbol), round(start, 6), round(end - start, 6)))
        if items:
            tiers[tier] = items
    return tiers or None
