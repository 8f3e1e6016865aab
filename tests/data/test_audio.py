"""Audio and its noise: levels by hand, the same draws everywhere, unreadable files named."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from lhotse import MonoCut, Recording

from spin import artifacts
from spin.config import Config, CorpusConfig, NoiseConfig
from spin.data import audio
from spin.data.audio import Noise, UnreadableAudio, add_noise, draw_noise, read_audio
from spin.data.cuts import read_cuts, write_cuts
from spin.data.loader import AddNoise, make_views
from spin.errors import DataError
from tests.data.synthetic import RATE, write_corpus


def snr(speech, noisy) -> float:
    speech, noisy = speech.astype(np.float64), noisy.astype(np.float64)
    return 10 * np.log10(np.mean(speech**2) / np.mean((noisy - speech) ** 2))


def cut_of(path, wave, rate: int = RATE) -> MonoCut:
    soundfile.write(path, wave, rate, subtype="FLOAT")
    recording = Recording.from_file(path, recording_id=path.stem)
    return MonoCut(path.stem, 0.0, recording.duration, 0, recording=recording)


@pytest.fixture(scope="module")
def cuts(tmp_path_factory):
    """Nine utterances of three speakers."""
    return list(read_cuts(write_corpus(tmp_path_factory.mktemp("corpus"), "train", [1.0, 1.5, 2.0] * 3, pitch_name=False)))


def test_mix_by_hand():
    speech, added = np.array([1.0, -1.0, 1.0, -1.0], np.float32), np.array([2.0, 2.0, -2.0, -2.0])
    assert audio.mix(speech, added, 0.0).tolist() == [2.0, 0.0, 0.0, -2.0]  # noise halved: equal powers
    assert audio.mix(speech, added, 20.0) == pytest.approx([1.1, -0.9, 0.9, -1.1])


@given(level=st.floats(-20, 40), seed=st.integers(0, 99), scale=st.sampled_from([1e-3, 1.0, 30.0]))
def test_the_ratio_of_powers_is_the_snr(level, seed, scale):
    random = np.random.default_rng(seed)
    speech, added = (scale * random.normal(size=4000)).astype(np.float32), random.uniform(-1, 1, 4000)
    result = audio.mix(speech, added, level)
    assert result.dtype == np.float32 and snr(speech, result) == pytest.approx(level, abs=0.05)


@pytest.mark.parametrize("kind", [audio.GAUSSIAN, audio.COLOURED, audio.BABBLE, audio.CORPUS, audio.REVERB])
def test_every_kind_keeps_the_length_and_repeats_itself(kind, cuts):
    speech = read_audio(cuts[2])
    drawn = draw_noise(np.random.default_rng(0), kind, 5.0, cuts[:2], "nobody")
    noisy = add_noise(speech, drawn)
    assert noisy.shape == speech.shape and noisy.dtype == np.float32
    assert np.isfinite(noisy).all() and not np.array_equal(noisy, speech)
    stored = Noise(**json.loads(json.dumps(dataclasses.asdict(drawn))))
    assert np.array_equal(add_noise(speech, stored), noisy)
    assert kind == audio.REVERB or snr(speech, noisy) == pytest.approx(5.0, abs=0.01)
    assert not add_noise(np.zeros(100, np.float32), drawn).any() and add_noise(speech[:0], drawn).shape == (0,)


def test_coloured_noise_falls_by_its_exponent():
    spectrum = np.abs(np.fft.rfft(audio.coloured_noise(np.random.default_rng(0), 2**18, 2.0))) ** 2
    low, high = spectrum[100:200].mean(), spectrum[1000:2000].mean()
    assert spectrum[0] == pytest.approx(0.0, abs=1e-12) and low / high == pytest.approx(100.0, rel=0.3)
    assert audio.coloured_noise(np.random.default_rng(0), 1, 1.0).tolist() == [0.0]


def test_babble_is_of_other_speakers_and_reverberation_by_hand(cuts, tmp_path):
    speaker = audio.speaker_of(cuts[0])
    for seed in range(20):
        drawn = draw_noise(np.random.default_rng(seed), audio.BABBLE, 0.0, cuts, speaker)
        voices = {cut["id"]: cut["supervisions"][0]["speaker"] for cut in drawn.cuts}
        assert audio.MIN_VOICES <= len(voices) == len(drawn.cuts) <= audio.MAX_VOICES and speaker not in voices.values()
    with pytest.raises(DataError, match="(?s)no voice other.*--set noise.test_kinds"):
        draw_noise(np.random.default_rng(0), audio.BABBLE, 0.0, [cuts[0]], speaker)
    response = cut_of(tmp_path / "room.wav", np.array([0.0, 1.0, 0.0, 0.5]))
    wet = add_noise(np.array([1, 0, 0, 0, 0], np.float32), Noise(audio.REVERB, None, 0, [response.to_dict()]))
    assert wet == pytest.approx(np.array([1, 0, 0.5, 0, 0]) / 1.25**0.5, abs=1e-6)  # not delayed, as loud as before


def test_a_noisy_cut_is_read_with_its_noise_also_from_a_manifest(cuts, tmp_path):
    noisy = [audio.noisy_cut(cut, audio.BABBLE, level, 1, cuts) for cut in cuts for level in (0.0, 20.0)]
    write_cuts(tmp_path / "cuts.jsonl.gz", noisy)
    for stored, cut in zip(read_cuts(tmp_path / "cuts.jsonl.gz"), noisy, strict=True):
        assert stored.id == cut.id and np.array_equal(read_audio(stored), read_audio(cut))
    clean = read_audio(cuts[0])
    assert np.allclose(read_audio(noisy[0]) - clean, 10 * (read_audio(noisy[1]) - clean), atol=1e-4)  # one noise at both SNRs


def test_a_pool_is_spread_over_its_manifests_and_resampled(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "MAX_POOL", 5)
    manifest = write_corpus(tmp_path, "train", [0.5] * 20, pitch_name=False)
    assert [cut.id for cut in audio.read_pool([manifest], audio.CORPUS)] == [f"train-{index:04d}" for index in range(0, 20, 4)]
    recording = cut_of(tmp_path / "wide.wav", np.ones((4410, 2)) * 0.1, 44_100).recording
    (tmp_path / "recordings.jsonl").write_text(json.dumps(recording.to_dict()) + "\n")
    (cut,) = audio.read_pool([tmp_path / "recordings.jsonl"], audio.REVERB)
    assert read_audio(cut).shape == (1600,)
    for content in ("", '{"id": "x"}\n'):
        (tmp_path / "bad.jsonl").write_text(content)
        with pytest.raises(DataError, match="(?s)bad.jsonl.*noise.impulse_responses"):
            audio.read_pool([tmp_path / "bad.jsonl"], audio.REVERB)


def test_views_draw_by_seed_epoch_utterance_and_view(tmp_path):
    write_corpus(tmp_path, "spin_train", [1.0] * 6, pitch_name=False)
    config = Config(corpus=CorpusConfig(spin_train=("spin_train",)), noise=NoiseConfig(min_snr_in_db=3.0, max_snr_in_db=3.0))
    ((add,),) = make_views([["noise"]], config, tmp_path)
    assert isinstance(add, AddNoise) and set(add.kinds) == {audio.COLOURED, audio.BABBLE}
    cut = next(read_cuts(artifacts.cuts(tmp_path, "spin_train")))
    speech, keys = read_audio(cut), [(0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b"), (0, 0, "a", "view 0")]
    noisy = [add(speech, cut, key) for key in keys]
    assert len({wave.tobytes() for wave in noisy}) == len(keys)
    assert np.array_equal(add(speech, cut, keys[0]), noisy[0])
    assert all(snr(speech, wave) == pytest.approx(3.0, abs=0.01) for wave in noisy)


def test_unreadable_audio_has_one_exception_with_a_reason(tmp_path):
    good, bad, gone, short = (cut_of(tmp_path / f"{name}.wav", np.zeros(16_000)) for name in ("good", "bad", "gone", "short"))
    assert read_audio(good).shape == (16_000,) and read_audio(good).dtype == np.float32
    (tmp_path / "bad.wav").write_bytes(b"not audio")
    (tmp_path / "gone.wav").unlink()
    soundfile.write(tmp_path / "short.wav", np.zeros(100), RATE)
    for cut in (bad, gone, short):
        with pytest.raises(UnreadableAudio, match="^unreadable audio") as caught:
            read_audio(cut)
        assert "\n" not in str(caught.value)
    with pytest.raises(UnreadableAudio, match="8000 Hz"):
        read_audio(cut_of(tmp_path / "slow.wav", np.zeros(800), 8_000))
    with pytest.raises(UnreadableAudio, match="unreadable noise: gone"):
        read_audio(audio.noisy_cut(good, audio.CORPUS, 0.0, 0, [gone]))
