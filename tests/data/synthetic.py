"""A corpus of buzzing tones, small enough for tests of sampling, loading and training."""

from pathlib import Path

import numpy as np
import soundfile
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from spin import artifacts, products
from spin.data.cuts import write_cuts
from spin.runtime import seeding
from spin.runtime.product import Context

RATE = artifacts.SAMPLE_RATE


def tone(index: int, samples: int) -> np.ndarray:
    """(samples,) float32: pulses at a pitch of its own through two resonances that change every quarter second."""
    random = np.random.default_rng(index)
    period = int(RATE / random.uniform(90, 250))
    wave = 0.01 * random.normal(size=samples)
    wave[::period] += 1.0
    time = np.arange(400) / RATE
    for start in range(0, samples, RATE // 4):
        low, high = random.uniform(250, 900), random.uniform(1000, 3000)
        ring = np.exp(-time * 300) * (np.sin(2 * np.pi * low * time) + 0.5 * np.sin(2 * np.pi * high * time))
        piece = wave[start : start + RATE // 4]
        wave[start : start + len(piece)] = np.convolve(piece, ring)[: len(piece)]
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def write_corpus(folder: Path, part: str, seconds: list[float], pitch_name: bool = True, phones: bool = True) -> Path:
    """Writes WAV files and a manifest of one part; returns the manifest. Phones change every quarter second."""
    cuts = []
    for index, duration in enumerate(seconds):
        name = f"{part}-{index:04d}"
        path = folder / "audio" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(index, round(duration * RATE)), RATE, subtype="PCM_16")
        recording = Recording.from_file(path, recording_id=name)
        spoken = SupervisionSegment(name, name, 0.0, recording.duration, text="A WORD", speaker=f"speaker{index % 3}")
        if phones:
            labels = np.random.default_rng(index).choice(["AA", "S", "IY", "SIL"], int(recording.duration // 0.25)).tolist()
            spoken.alignment = {artifacts.PHONE_TIER: [AlignmentItem(phone, k / 4, 0.25) for k, phone in enumerate(labels)]}
        cuts.append(MonoCut(name, 0.0, recording.duration, 0, [spoken], recording=recording))
    manifest = artifacts.pitch_cuts(folder, part) if pitch_name else artifacts.cuts(folder, part)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    write_cuts(manifest, cuts)
    return manifest


def prepare_part(context: Context, part: str, seconds: list[float], phones: bool = False) -> None:
    """A part as stage 0 leaves it: its audio in <corpus>/written, and the product manifest."""
    manifest = write_corpus(context.corpus / "written", part, seconds, pitch_name=False, phones=phones)
    with products.manifest(context, part).building() as partial:
        partial.write_bytes(manifest.read_bytes())


def noisy_copy(waveform, cut, keys):
    """Imitates the perturbation: the waveform plus noise drawn by the keys."""
    noise = seeding.generator(*keys).normal(size=len(waveform))
    return (0.5 * waveform + 0.01 * noise).astype(np.float32)
