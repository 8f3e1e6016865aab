"""Stage 0 on small corpora from audio to manifests: results, errors, what is rebuilt, interruptions."""

import logging
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from lhotse import CutSet
from lhotse.supervision import AlignmentItem
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from spin import artifacts, products
from spin.config import CorpusConfig, NoiseConfig
from spin.corpus import align, alignment, parts, prepare
from spin.corpus.alignment import write_tsv
from spin.corpus.librispeech import LibriSpeech
from spin.corpus.parts import check_roles
from spin.data.cuts import read_records
from spin.errors import ConfigError, DataError
from spin.runtime.files import read_jsonl
from spin.runtime.product import Context
from tests.corpus.layout import chapter_cuts, lm_text, write_chapter, write_flac

SHOW_PARTS = prepare.show_parts  # the fixture prepare_data does without it


def files(context: Context) -> dict[str, bytes]:
    """Contents of all files that stage 0 leaves, without the keys of products, which hold times."""
    found = (path for path in sorted(context.corpus.iterdir()) if path.is_file() and not path.name.startswith("."))
    return {path.name: path.read_bytes() for path in found}


def cuts(context: Context, part: str) -> list[dict]:
    return list(read_records(artifacts.cuts(context.corpus, part)))


def phones(context: Context, part: str) -> list:
    """The phones of each cut, None where it has none."""
    return [(cut["supervisions"][0].get("alignment") or {}).get("phone") for cut in cuts(context, part)]


def rejected(context: Context) -> list[str]:
    return [record["id"] for record in read_jsonl(artifacts.rejects(context.corpus, "prepare_data"))]


interrupt = Mock(side_effect=KeyboardInterrupt)


@pytest.fixture
def rebuilt(caplog):
    """rebuilt() -> names of the products that the log says are built since the last call."""
    caplog.set_level(logging.INFO)

    def names() -> set[str]:
        messages = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return {message.split(":")[0] for message in messages if message.endswith("building it")}

    return names


@pytest.fixture
def interrupted(prepare_data, monkeypatch):
    """interrupted(context, module, name): stage 0 up to the call of a function."""

    def run(context: Context, module, name: str) -> None:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module, name, interrupt)
            prepare_data(context)

    return run


@pytest.fixture
def aligned(tmp_path: Path) -> dict:
    """Keys for a corpus with phones."""
    ids = ["5-1-0000", "5-1-0001", "6-1-0000", *(f"103-1240-000{number}" for number in range(3))]
    write_tsv(tmp_path / "all.tsv", [(identity, ["SIL"] * 50 + ["AH"] * 50) for identity in ids])
    return {"alignment": "tsv", "alignment_tsv": str(tmp_path / "all.tsv")}


def test_manifests_lexicon_and_lm_text(small_corpus: Path, make_context, prepare_data):
    context = prepare_data(make_context(small_corpus))
    assert not any(artifacts.alignment_folder(context.corpus).iterdir())
    assert files(context)["cuts_dev.jsonl.gz"][4:8] == bytes(4)  # gzip's MTIME: no time stamp
    train = list(CutSet.from_file(artifacts.cuts(context.corpus, "train")))
    assert [cut.id for cut in train] == ["103-1240-0000", "103-1240-0001", "103-1240-0002", "1034-7-0000", "1034-7-0001"]
    assert train[0].load_audio().shape == (1, 16_000)
    assert lm_text(context) == ["HELLO WORLD", "THE CAT SAT", "A SECOND SPEAKER", "HELLO WORLD"]  # GOOD MORNING is in dev
    words = dict(line.split("\t") for line in artifacts.lexicon(context.corpus).read_text().splitlines())
    assert words["CAT"] == "K AE T" and words["MORNING"] == "M AO R N IH NG"
    assert list(words) == sorted(words)
    variants = [line.split("\t") for line in artifacts.lexicon_variants(context.corpus).read_text().splitlines()]
    assert ["THE", "DH IY"] in variants and variants == sorted(variants, key=lambda line: line[0])
    assert all(word in words and phones != words[word] for word, phones in variants)


def test_number_of_jobs_and_a_second_run_change_no_byte(small_corpus: Path, make_context, prepare_data, aligned, rebuilt):
    results = []
    for data, nj in (("one", 1), ("two", 2), ("one", 1)):
        rebuilt()
        keys = {"align_parts": "all", "asr_train": (), "valid": (), "test": ()} | aligned
        results.append(files(prepare_data(make_context(small_corpus, data, nj, **keys))))
    assert results[0] == results[1] == results[2]
    assert rebuilt() == set()


def test_a_stop_before_tensorboard_does_not_cost_it(small_corpus, make_context, prepare_data, interrupted, aligned, monkeypatch):
    context = make_context(small_corpus, **aligned)
    interrupted(context, prepare, "show_parts")
    monkeypatch.setattr(prepare, "show_parts", SHOW_PARTS)
    prepare_data(context)
    prepare_data(context)  # what is there stays
    assert len(list(context.tensorboard.iterdir())) == 1
    events = EventAccumulator(str(context.tensorboard))
    events.Reload()
    tags = events.Tags()
    assert events.Scalars("hours/train")[0].value == pytest.approx(5 / 3600)
    assert len(tags["audio"]) == 6 and set(tags["images"]) == set(tags["audio"])


@pytest.mark.parametrize("samples", [np.zeros(1000, np.float32), np.ones(3, np.float32), np.zeros(160_000, np.float32)])
def test_figure_of_silence_and_scraps(small_corpus: Path, samples: np.ndarray):
    cut = chapter_cuts(small_corpus / "dev/5/1")[0]
    cut.supervisions[0].alignment = {"phone": [AlignmentItem("AH", 0.0, 0.5), AlignmentItem("B", 0.5, 99.0)]}
    axes = prepare.plot_phones(cut, samples).axes[0]
    assert len(axes.texts) == (2 if len(samples) > 8000 else 1)
    assert axes.get_xlim()[1] == pytest.approx(min(len(samples) / 16_000, 6.0))


def test_bad_utterances_of_finished_parts_count_and_corrected_ones_are_read(small_corpus: Path, make_context, prepare_data):
    """What is bad: tests/faults/test_bad_utterances.py."""
    bad, context = small_corpus / "train/1034/7/1034-7-0001.flac", make_context(small_corpus, max_bad_share=0.2)
    bad.write_bytes(b"noise")
    prepare_data(context)
    (record,) = read_jsonl(artifacts.rejects(context.corpus, "prepare_data"))
    assert (record["id"], record["part"], record["stage"]) == ("1034-7-0001", "train", 0)
    (small_corpus / "test/6/1/6-1-0001.flac").write_bytes(b"noise")
    with pytest.raises(DataError, match="2 of 9"):  # those of a part that is up to date count
        prepare_data(context)
    prepare_data(make_context(small_corpus, max_bad_share=0.3))
    assert rejected(context) == ["1034-7-0001", "6-1-0001"]
    write_flac(bad)
    prepare_data(context)  # the corrected file is read
    assert rejected(context) == ["6-1-0001"]


def test_alignment_of_exact_phones_and_roles(make_context, prepare_data):
    with pytest.raises(ConfigError, match="corpus.alignment"):
        prepare_data(make_context(None, kind="generated", alignment="pocketsphinx"))
    with pytest.raises(ConfigError, match="corpus.valid"):
        check_roles(CorpusConfig(valid=()))
    check_roles(CorpusConfig(spin_train=("a",), asr_train=(), valid=(), test=()))  # pre-training alone
    check_roles(CorpusConfig(spin_train=("a",), asr_train=(), valid=(), test=("b",)))  # units alone


def test_tsv_alignment(small_corpus: Path, make_context, prepare_data, tmp_path: Path, rebuilt):
    rows = [(f"103-1240-000{number}", ["SIL"] * 20 + ["HH"] * 30 + ["AH"] * 52) for number in range(2)]
    write_tsv(tmp_path / "all.tsv", [*rows, ("1034-7-0000", ["SIL"] * 20), ("5-1-0000", ["SIL"] * 100)])
    keys = {"alignment": "tsv", "alignment_tsv": str(tmp_path / "all.tsv")}
    context = prepare_data(make_context(small_corpus, **keys))
    assert not any(phones(context, "train")) and phones(context, "dev")[0]  # the metrics read valid and test parts only
    rebuilt()
    prepare_data(make_context(small_corpus, align_parts="all", **keys))
    assert {name for name in rebuilt() if name.startswith("manifest")} == {"manifest of train"}
    spans = [item[:3] for item in phones(context, "train")[1]]
    assert spans == [["SIL", 0.0, 0.2], ["HH", 0.2, 0.3], ["AH", 0.5, 0.5]]
    unaligned = {record["id"]: record["reason"] for record in read_jsonl(artifacts.unaligned(context.corpus, "train"))}
    assert list(unaligned) == ["103-1240-0002", "1034-7-0000", "1034-7-0001"]
    assert unaligned["1034-7-0000"].startswith("all.tsv has another length: 0.20 s for 1.00 s")
    assert phones(context, "train")[2:] == [None] * 3


def test_alignment_errors_come_before_the_work(small_corpus: Path, make_context, prepare_data, tmp_path: Path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(LibriSpeech, "read", interrupt)
        with pytest.raises(ConfigError, match="corpus.alignment_tsv"):
            prepare_data(make_context(small_corpus, alignment="tsv"))
        with pytest.raises(DataError, match="dev.tsv"):
            prepare_data(make_context(small_corpus, alignment="tsv", alignment_tsv=str(tmp_path)))
        with pytest.raises(ConfigError, match="dev-clean, dev-other"):
            prepare_data(make_context(small_corpus, alignment="official"))
    write_tsv(tmp_path / "other.tsv", [("9-9-0000", ["SIL"]), ("103-1240-0000", ["SIL"])])  # train is not aligned
    with pytest.raises(DataError, match="(?s)ids such as 9-9-0000.*of the parts dev, test, such as 5-1-0000"):
        prepare_data(make_context(small_corpus, "other", alignment="tsv", alignment_tsv=str(tmp_path / "other.tsv")))


def test_official_alignments_are_downloaded_once(small_corpus: Path, make_context, prepare_data, tmp_path: Path, monkeypatch):
    (small_corpus / "dev").rename(small_corpus / "dev-clean")
    write_tsv(tmp_path / "dev-clean.tsv", [("5-1-0000", ["SIL"] * 100)])
    monkeypatch.setattr(alignment, "OFFICIAL_URL", f"{tmp_path.as_uri()}/{{part}}.tsv")
    monkeypatch.setenv("SPIN_CACHE", str(tmp_path / "cache"))
    context = prepare_data(make_context(small_corpus, alignment="official", valid=("dev-clean",)))
    aligned, *others = [*phones(context, "dev-clean"), *phones(context, "test")]
    assert aligned[0][:3] == ["SIL", 0.0, 1.0] and others == [None] * 3
    (tmp_path / "dev-clean.tsv").unlink()
    prepare_data(make_context(small_corpus, "again", alignment="official", valid=("dev-clean",)))


def test_a_moved_corpus_is_not_read_again(small_corpus, make_context, prepare_data, aligned, monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    prepare_data(make_context(small_corpus, **aligned))
    moved = small_corpus.rename(tmp_path / "moved")
    context = make_context(moved, **aligned)
    with monkeypatch.context() as patch:
        patch.setattr(LibriSpeech, "read", interrupt)
        patch.setattr(parts, "align_part", interrupt)
        prepare_data(context)
    assert files(context) == files(prepare_data(make_context(moved, "whole", **aligned)))
    assert next(iter(CutSet.from_file(artifacts.cuts(context.corpus, "dev")))).load_audio().shape == (1, 16_000)
    write_flac(moved / "dev/5/1/5-1-0000.flac", 1.2)  # moved and changed at the same time
    moved.rename(small_corpus)
    caplog.clear()
    prepare_data(make_context(small_corpus, **aligned))
    assert "part dev: reading every utterance" in caplog.text and "part test: reading" not in caplog.text


def test_roles_are_checked_although_nothing_is_stale(small_corpus: Path, make_context, prepare_data):
    """What new roles rebuild: tests/faults/test_rebuilds.py."""
    prepare_data(make_context(small_corpus))
    with pytest.raises(DataError, match="speaker 103 in train and train"):
        prepare_data(make_context(small_corpus, test=("train",)))


PLACES = [
    (LibriSpeech, "read"),
    (parts, "read_speakers"),
    (parts, "align_part"),
    (parts, "write_cuts"),
    (prepare, "write_lm_text"),
]


def test_interrupted_anywhere_the_next_run_ends_in_the_same_files(small_corpus, make_context, prepare_data, interrupted, aligned):
    whole, *broken = (make_context(small_corpus, data, align_parts="all", **aligned) for data in ("whole", *"abcde"))
    prepare_data(whole)
    for context, place in zip(broken, PLACES, strict=True):
        interrupted(context, *place)
        prepare_data(context)
        assert files(context) == files(whole), place


def test_finished_alignments_are_kept_in_an_unchanged_corpus(small_corpus, make_context, prepare_data, interrupted, monkeypatch):
    """Interrupted between two utterances: finished ones are counted, and a new first speaker would shift the count."""
    asked: list[str] = []

    def align_job(tasks):
        asked.extend(Path(audio).stem for audio, _ in tasks)
        return ["of this test" for _ in tasks]

    monkeypatch.setattr(align, "_align_job", align_job)
    monkeypatch.setattr(align, "_PER_LINE", 1)
    context = make_context(small_corpus, alignment="pocketsphinx", align_parts="all")
    interrupted(context, parts, "check_cut")
    path = artifacts.alignment_folder(context.corpus) / "train" / "alignments.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]) + '{"results": ["torn')
    asked.clear()
    interrupted(context, parts, "check_cut")
    assert asked == ["103-1240-0002", "1034-7-0000", "1034-7-0001"]  # unchanged: the first two stay
    write_chapter(small_corpus / "train", "100", "1", ["NEW AND FIRST"])
    asked.clear()
    prepare_data(context)
    assert asked[:2] == ["100-1-0000", "103-1240-0000"] and len(cuts(context, "train")) == 6


def test_noisy_copies_of_test_parts(small_corpus: Path, make_context, prepare_data, rebuilt):
    noise = NoiseConfig(test_kinds=("gaussian", "babble"), test_snrs_in_db=(0.0, 10.0))
    context = prepare_data(make_context(small_corpus, sections={"noise": noise}))
    names = list(products.noisy_parts(context.config))
    assert names == ["test+gaussian_0dB", "test+gaussian_10dB", "test+babble_0dB", "test+babble_10dB"]
    for name in names:
        found = cuts(context, name)
        assert [cut["id"] for cut in found] == [cut["id"] for cut in cuts(context, "test")]
        noises = [cut["custom"]["noise"] for cut in found]
        kind, level = name[5:].split("_")
        assert {(noise["kind"], noise["snr_in_db"]) for noise in noises} == {(kind, float(level[:-2]))}
        assert len({noise["seed"] for noise in noises}) == len(found)
    rebuilt()
    more = NoiseConfig(test_kinds=("gaussian", "babble"), test_snrs_in_db=(0.0, 5.0))
    prepare_data(make_context(small_corpus, sections={"noise": more}))
    assert rebuilt() == {"manifest of test+gaussian_5dB", "manifest of test+babble_5dB"}


@pytest.mark.parametrize(("kind", "key"), [("noise", "manifests"), ("reverb", "impulse_responses")])
def test_noise_that_needs_manifests(small_corpus: Path, make_context, prepare_data, kind: str, key: str):
    with pytest.raises(ConfigError, match=f"noise.{key}"):
        prepare_data(make_context(small_corpus, sections={"noise": NoiseConfig(test_kinds=(kind,))}))
