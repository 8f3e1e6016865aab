"""Cluster labels for masked prediction: features of every frame, normalised per speaker, and the nearest of K k-means centres.

MFCCs and hidden states carry the speaker's voice as well as the phone. Without the normalisation, clusters of very different
voices name the voice. Features pass through a file, so that memory does not grow with the corpus.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from spin import artifacts
from spin.data.audio import UnreadableAudio, read_audio, speaker_of
from spin.data.cuts import read_cuts
from spin.data.plan import num_frames
from spin.errors import DataError, rerun
from spin.runtime.files import write_json, write_jsonl
from spin.runtime.logs import get_logger, progress
from spin.runtime.seeding import integer

FRAMES_PER_HOUR = 3600 * 50
MFCC_DIM = 13
DEVIATION_FLOOR = 1e-3
FRAMES_AT_ONCE = 100_000  # whose nearest centres are searched


class _Utterance(NamedTuple):
    id: str
    speaker: str | None
    part: str
    frames: slice  # of the feature file


def mfcc(waveform: Tensor) -> Tensor:
    """(S,) at 16 kHz -> (T, 13): MFCCs averaged over 50 ms, one frame for each encoder frame.

    The average makes clusters last longer than a frame. With differences, or without the average, neighbouring frames share a
    label half as often, and the noise of the clustering remains to be predicted.
    """
    from torchaudio.compliance.kaldi import mfcc as kaldi_mfcc

    scaled = waveform[None] * 32768.0
    dense = kaldi_mfcc(scaled, frame_length=25.0, frame_shift=10.0, num_ceps=MFCC_DIM, num_mel_bins=40, low_freq=40.0, dither=0.0)
    smooth = torch.nn.functional.avg_pool1d(dense.T[None], 5, 1, 2, count_include_pad=False)[0].T
    return smooth[::2][: num_frames(len(waveform))]


def make_labels(
    folder: Path, manifests: dict[str, Path], extract: Callable[[Tensor], Tensor], clusters: int, hours: float, seed: int
) -> list[Path]:
    """Labels of all frames by k-means, unless they are complete: <part>.jsonl with {"id", "units"}, and labels.json.

    `extract` turns a waveform (S,) into features (T, D). k-means sees a random choice of at most so many `hours` of frames.
    Raises DataError where no utterance can be read.
    """
    paths = [folder / f"{part}.jsonl" for part in manifests]
    if (folder / "labels.json").exists():
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    utterances, frames = _extract(folder / "features.bin", manifests, extract)
    normalize_speakers(frames, utterances)
    labels = cluster(frames, clusters, int(hours * FRAMES_PER_HOUR), seed)
    for path, part in zip(paths, manifests):
        own = ((item.id, labels[item.frames].tolist()) for item in utterances if item.part == part)
        write_jsonl(path, ({artifacts.UNITS_ID: name, artifacts.UNITS_SEQUENCE: units} for name, units in own))
    (folder / "features.bin").unlink()
    write_json(folder / "labels.json", {"classes": clusters})  # last: it marks the labels as complete
    return paths


def _extract(path: Path, manifests: dict[str, Path], extract: Callable[[Tensor], Tensor]) -> tuple[list[_Utterance], np.ndarray]:
    """The readable utterances, and their frames (N, D) float16 in a file that is mapped into memory."""
    utterances, count, dim = [], 0, 1
    with open(path, "wb") as stream:
        for part, manifest in manifests.items():
            for cut in progress(read_cuts(manifest), f"features of {part}"):
                try:
                    block = extract(torch.from_numpy(read_audio(cut))).numpy().astype(np.float16)
                except UnreadableAudio as error:
                    get_logger("pretrain").warning("%s is skipped: %s", cut.id, error)
                    continue
                utterances.append(_Utterance(cut.id, speaker_of(cut), part, slice(count, count + len(block))))
                stream.write(block.tobytes())
                count, dim = count + len(block), block.shape[1]
    if not count:
        cause = "no cut at all, or recordings that were moved or damaged; the log names each"
        subject, expected = f"parts {', '.join(manifests)}", "at least one"
        raise DataError(subject, found="no readable utterance", expected=expected, cause=cause, remedy=rerun(0))
    return utterances, np.memmap(path, np.float16, "r+", shape=(count, dim))


def normalize_speakers(frames: np.ndarray, utterances: Sequence[_Utterance]) -> None:
    """Brings every speaker's frames (N, D) to zero mean and unit variance in each dimension, in place."""
    spans: dict[str | None, list[slice]] = {}
    for utterance in utterances:
        spans.setdefault(utterance.speaker, []).append(utterance.frames)
    for own in spans.values():
        block = np.concatenate([frames[span] for span in own]).astype(np.float32)
        mean, deviation = block.mean(0), np.maximum(block.std(0), DEVIATION_FLOOR)
        for span in own:
            frames[span] = (frames[span].astype(np.float32) - mean) / deviation


def cluster(frames: np.ndarray, clusters: int, sample: int, seed: int) -> np.ndarray:
    """(N,) int32: the nearest k-means centre of each frame (N, D); k-means learns from at most `sample` frames."""
    from sklearn.cluster import MiniBatchKMeans

    chosen = np.random.default_rng(integer("pretrain frames", seed)).permutation(len(frames))[:sample]
    random_state = integer("pretrain", seed) % 2**32
    model = MiniBatchKMeans(clusters, batch_size=10_000, n_init=3, max_no_improvement=50, random_state=random_state)
    model.fit(frames[np.sort(chosen)].astype(np.float32))
    blocks = (frames[start : start + FRAMES_AT_ONCE] for start in range(0, len(frames), FRAMES_AT_ONCE))
    return np.concatenate([model.predict(block.astype(np.float32)) for block in blocks]).astype(np.int32)
