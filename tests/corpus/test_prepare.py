"""Stage 0 on small corpora from audio to manifests: results, errors, jobs, interruption."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from lhotse import CutSet

from spin import artifacts
from spin.config import CorpusConfig
from spin.corpus import prepare, records
from spin.corpus.alignment import write_tsv
from spin.corpus.prepare import corpus_parts, prepare_data
from spin.errors import ConfigError, DataError
from spin.runtime.files import read_jsonl
from spin.runtime.stages import Context
from tests.corpus.layout import write_chapter

pytestmark = pytest.mark.usefixtures("no_pictures")


def products(context: Context) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(context.corpus.iterdir()) if path.is_file()}


def test_manifests_lexicon_and_lm_text(small_corpus: Path, make_context):
    context = make_context(small_corpus)
    prepare_data(context)
    assert sorted(products(context)) == [
        *(f"cuts_{part}.{kind}" for part in ("dev", "test", "train") for kind in ("index.npz", "jsonl.gz")),
        "lexicon.txt",
        "lexicon_variants.txt",
        "lm_text.txt",
        "rejects_stage0.jsonl",
        *(f"unaligned_{part}.jsonl" for part in ("dev", "test", "train")),
    ]
    cuts = list(CutSet.from_file(artifacts.cuts(context.corpus, "train")))
    assert [cut.id for cut in cuts] == ["103-1240-0000", "103-1240-0001", "103-1240-0002", "1034-7-0000", "1034-7-0001"]
    assert cuts[0].load_audio().shape == (1, 16_000)
    lines = artifacts.lm_text(context.corpus).read_text().splitlines()
    assert lines == ["HELLO WORLD", "THE CAT SAT", "A SECOND SPEAKER", "HELLO WORLD"]  # GOOD MORNING is in dev
    lexicon = dict(line.split("\t") for line in artifacts.lexicon(context.corpus).read_text().splitlines())
    assert lexicon["CAT"] == "K AE T" and lexicon["MORNING"] == "M AO R N IH NG"
    assert list(lexicon) == sorted(lexicon)
    variants = [line.split("\t") for line in artifacts.lexicon(context.corpus, variants=True).read_text().splitlines()]
    assert ["THE", "DH IY"] in variants and variants == sorted(variants, key=lambda line: line[0])
    assert all(word in lexicon and phones != lexicon[word] for word, phones in variants)


def test_number_of_jobs_and_a_second_run_change_no_byte(small_corpus: Path, make_context):
    contexts = [make_context(small_corpus, "one"), make_context(small_corpus, "two", nj=2), make_context(small_corpus, "one")]
    results = []
    for context in contexts:
        prepare_data(context)
        results.append(products(context))
    assert results[0] == results[1] == results[2]


def test_bad_utterances_are_named_and_too_many_end_the_stage(small_corpus: Path, make_context):
    (small_corpus / "train/1034/7/1034-7-0001.flac").write_bytes(b"noise")
    context = make_context(small_corpus, max_bad_share=0.2)
    prepare_data(context)
    rejected = list(read_jsonl(artifacts.rejects(context.corpus, 0)))
    assert [(record["id"], record["part"], record["reason"].split(":")[0]) for record in rejected] == [
        ("1034-7-0001", "train", "unreadable audio")
    ]
    strict = make_context(small_corpus, "strict", max_bad_share=0.05)
    with pytest.raises(DataError, match="1 x unreadable audio; for example 1034-7-0001"):
        prepare_data(strict)
    assert list(read_jsonl(artifacts.rejects(strict.corpus, 0))) == rejected
    write_chapter(small_corpus / "train", "1034", "7", ["A SECOND SPEAKER", "HELLO WORLD"])
    prepare_data(strict)  # mended: what was read before is not believed
    assert list(read_jsonl(artifacts.rejects(strict.corpus, 0))) == []


def test_a_part_without_a_good_utterance_is_an_error(small_corpus: Path, make_context):
    for path in (small_corpus / "test").rglob("*.flac"):
        path.write_bytes(b"noise")
    context = make_context(small_corpus, max_bad_share=0.9)
    with pytest.raises(DataError, match="part test") as caught:
        prepare_data(context)
    named = artifacts.rejects(context.corpus, 0)
    assert f"see {named} for the reasons" in str(caught.value)
    assert [record["part"] for record in read_jsonl(named)] == ["test", "test"]


def test_the_reason_of_a_folder_with_a_dash_is_the_dash(small_corpus: Path, make_context, caplog):
    write_chapter(small_corpus / "train", "spk-0700", "1", ["HELLO WORLD"])
    context = make_context(small_corpus, max_bad_share=0.9)
    prepare_data(context)
    (record,) = read_jsonl(artifacts.rejects(context.corpus, 0))
    assert record["id"] == "spk-0700-1-0000" and record["reason"].startswith(
        "a dash in the name of the speaker folder: 'spk-0700'"
    )
    assert "No such file" not in caplog.text


def test_shared_speakers_and_ids(small_corpus: Path, make_context):
    write_chapter(small_corpus / "dev", "103", "9", ["MORE WORDS"])
    with pytest.raises(DataError, match="speaker 103 in train and dev"):
        prepare_data(make_context(small_corpus))
    prepare_data(make_context(small_corpus, "allowed", allow_shared_speakers=True))
    write_chapter(small_corpus / "dev", "103", "1240", ["HELLO"])
    with pytest.raises(DataError, match="part dev, utterance 103-1240-0000"):
        prepare_data(make_context(small_corpus, "ids", allow_shared_speakers=True))


def test_missing_part_folder_and_roles(small_corpus: Path, make_context):
    with pytest.raises(DataError, match="no test-other; there are: dev, test, train"):
        prepare_data(make_context(small_corpus, test=("test-other",)))
    with pytest.raises(ConfigError, match="corpus_dir"):
        prepare_data(make_context(None))
    with pytest.raises(ConfigError, match="corpus.valid"):
        corpus_parts(CorpusConfig(valid=()))
    with pytest.raises(ConfigError, match="corpus.test"):
        corpus_parts(CorpusConfig(test=("../x",)))
    assert corpus_parts(CorpusConfig(spin_train=("a", "b"), asr_train=("b",), valid=("c",), test=("d", "a"))) == (
        "a",
        "b",
        "c",
        "d",
    )


def test_generated_corpus_takes_no_other_alignment(make_context):
    with pytest.raises(ConfigError, match="corpus.alignment"):
        prepare_data(make_context(None, kind="generated", alignment="pocketsphinx"))


def test_lm_text_from_a_file(small_corpus: Path, make_context, tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text("\ufeffa first line\r\n\r\nIt is a test.\nchapter 12\nthe last line", encoding="utf-8")
    context = make_context(small_corpus, lm_text=str(text))
    prepare_data(context)
    assert artifacts.lm_text(context.corpus).read_text() == "A FIRST LINE\nTHE LAST LINE\n"
    assert "LINE\tL AY N\n" in artifacts.lexicon(context.corpus).read_text()
    with pytest.raises(DataError, match="absent.txt"):
        prepare_data(make_context(small_corpus, "none", lm_text=str(tmp_path / "absent.txt")))
    text.write_text("it is a test\n")
    with pytest.raises(DataError, match="LM text"):
        prepare_data(make_context(small_corpus, "held", lm_text=str(text)))


def test_tsv_alignment(small_corpus: Path, make_context, tmp_path: Path):
    tsv = tmp_path / "all.tsv"
    rows = [(f"103-1240-000{number}", ["SIL"] * 20 + ["HH"] * 30 + ["AH"] * 52) for number in range(2)]
    write_tsv(tsv, [*rows, ("1034-7-0000", ["SIL"] * 20)])
    context = make_context(small_corpus, alignment="tsv", alignment_tsv=str(tsv))
    prepare_data(context)
    cuts = {cut.id: cut for cut in CutSet.from_file(artifacts.cuts(context.corpus, "train"))}
    phones = cuts["103-1240-0001"].supervisions[0].alignment["phone"]
    assert [(item.symbol, item.start, item.duration) for item in phones] == [
        ("SIL", 0.0, 0.2),
        ("HH", 0.2, 0.3),
        ("AH", 0.5, 0.5),
    ]
    unaligned = {record["id"]: record["reason"] for record in read_jsonl(artifacts.unaligned(context.corpus, "train"))}
    assert list(unaligned) == ["103-1240-0002", "1034-7-0000", "1034-7-0001"]
    assert unaligned["1034-7-0000"].startswith("all.tsv has another length: 0.20 s for 1.00 s")
    assert all(cuts[identity].supervisions[0].alignment is None for identity in unaligned)


def test_tsv_errors_come_before_the_work(small_corpus: Path, make_context, tmp_path: Path):
    with pytest.raises(ConfigError, match="corpus.alignment_tsv"):
        prepare_data(make_context(small_corpus, alignment="tsv"))
    with pytest.raises(DataError, match="train.tsv"):
        prepare_data(make_context(small_corpus, alignment="tsv", alignment_tsv=str(tmp_path)))
    write_tsv(tmp_path / "other.tsv", [("9-9-0000", ["SIL"])])
    with pytest.raises(DataError, match="none of its utterances"):
        prepare_data(make_context(small_corpus, "other", alignment="tsv", alignment_tsv=str(tmp_path / "other.tsv")))


@pytest.mark.parametrize(
    "module, name", [(records, "read_jsonl"), (prepare, "write_jsonl"), (prepare, "write_lm_text"), (prepare, "show_corpus")]
)
def test_interrupted_anywhere_the_next_run_ends_in_the_same_files(
    small_corpus: Path, make_context, monkeypatch, module, name: str
):
    whole = make_context(small_corpus, "whole")
    prepare_data(whole)
    broken = make_context(small_corpus, "broken")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, name, interrupt)
        prepare_data(broken)
    prepare_data(broken)
    assert products(broken) == products(whole)


def test_manifests_have_no_time_stamp(small_corpus: Path, make_context):
    context = make_context(small_corpus)
    prepare_data(context)
    content = artifacts.cuts(context.corpus, "dev").read_bytes()
    assert content[4:8] == bytes(4)  # gzip's MTIME
    assert gzip.decompress(content).count(b"\n") == 2
