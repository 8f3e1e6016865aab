"""Decoding by all methods: scales from valid alone, what cannot be decoded, failures of k2; the results of stages 4 and 5."""

import shutil
from unittest import mock

import pytest

from spin import artifacts
from spin.asr.decode import Decoding, Scales, best_scale, find_scales
from spin.asr.decoders import DECODERS, Decoder, DecodingResult
from spin.asr.graph_search import GraphSearch
from spin.asr.graphs import train_arpa
from spin.asr.inputs import Recogniser
from spin.errors import ResourceError
from spin.report.measures import method_title
from spin.runtime.files import read_json, read_jsonl
from spin.systems import systems_of
from tests.asr import tiny_asr

NO_TEXT, NO_FRAMES, LONG = "eval-000", "eval-001", "eval-002"
METHODS = tuple(DECODERS)
GRAPH_METHODS = METHODS[1:]


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """(folder, context of stage 5, parts read while tuning, parts read else). One eval utterance has no text, one no frame."""
    folder = tmp_path_factory.mktemp("staged")
    spoken = tiny_asr.make_sentences(14, 3)
    spoken[0], spoken[2] = "", " ".join(spoken[3:9])  # the long one takes some seven seconds
    parts = {
        "train": (tiny_asr.make_sentences(60, 1),),
        "dev": (tiny_asr.make_sentences(6, 2),),
        "eval": (spoken, ("speaker0", "speaker1"), {1: 0}),
    }
    for order in (2, 3):
        train_arpa([*tiny_asr.make_sentences(80, 5), "HOED CAB"], order, [*tiny_asr.WORDS, "HOED"], folder / f"{order}.arpa")
    given = {"arpa": str(folder / "2.arpa"), "rescore_arpa": str(folder / "3.arpa"), "rescore_order": 3}
    config = tiny_asr.make_config({"max_steps": 60}, decoding={**given, "methods": METHODS, "batch_seconds": 5.0})
    tiny_asr.write_corpus(folder, config, parts)
    tiny_asr.train_all(folder, config)
    read, outputs = [], Decoding.outputs

    def spied_outputs(self, parts):
        read.append(tuple(parts))
        return outputs(self, parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Decoding, "outputs", spied_outputs)
        context = tiny_asr.decode_all(folder, config)
    return folder, context, read


def decoding_of(context, method: str, system: str = "fbank"):
    return artifacts.decoding_folder(context.exp, system, "features", 0, "eval", method)


def summary_of(context, method: str, system: str = "fbank") -> dict:
    return read_json(artifacts.decode_summary(decoding_of(context, method, system)))


def test_scales_come_from_the_valid_parts_alone(staged):
    _, context, read = staged
    assert read == [("eval",), *[("dev",), ("eval",)] * len(GRAPH_METHODS)] * len(tiny_asr.SYSTEMS)
    for one in systems_of(context.config, context.exp):
        recogniser, system = Recogniser(context, one, "features", 0), one.name
        tunings = [artifacts.tuning(context.exp, system, "features", 0, method) for method in GRAPH_METHODS]
        search, second = (best_scale(read_json(path)["wer"]) for path in tunings)
        scales = [find_scales(recogniser, method) for method in METHODS]
        assert scales == [Scales(0.0, 0.0), Scales(search, search), Scales(search, second)]
        summaries = [summary_of(context, method, system) for method in METHODS]
        assert [one.get("search_lm_scale") for one in summaries] == [None, None, search]
        assert [one.get("lm_scale") for one in summaries] == [None, search, second]


@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_decoded_is_counted(staged, method):
    rows = [line.split("\t") for line in artifacts.hypotheses(decoding_of(staged[1], method)).read_text().splitlines()]
    texts, summary = {name: (reference, text) for name, reference, text in rows}, summary_of(staged[1], method)
    assert NO_TEXT not in texts and texts[NO_FRAMES][1] == "" and texts[LONG][1]
    assert (summary["without_text"], summary["without_frames"], summary["utterances"]) == (1, 1, 13)
    assert summary["words"]["reference"] == sum(len(reference.split()) for reference, _ in texts.values())
    assert summary["words"]["deletions"] >= len(texts[NO_FRAMES][0].split()) > 0


def test_batches_that_k2_cannot_hold_are_halved(staged, monkeypatch, tmp_path, caplog):
    """Texts and tuned scales equal those of whole batches."""
    folder, context, _ = staged
    work = shutil.copytree(folder, tmp_path / "work")
    lattices, sizes = GraphSearch.lattices, []

    def limited(self, log_probs, lengths, scale):
        if len(lengths) > 2:
            raise RuntimeError("Check failed: t == oarc_idx1")
        sizes.append(len(lengths))
        return lattices(self, log_probs, lengths, scale)

    monkeypatch.setattr(GraphSearch, "lattices", limited)
    shutil.rmtree(work / "exp" / "decode")
    halved = tiny_asr.decode_all(work, context.config)
    assert "in halves" in caplog.text and max(sizes) == 2
    for method in METHODS:
        for name in ("hypotheses.txt", "summary.json", "counts.jsonl"):
            assert (decoding_of(halved, method) / name).read_bytes() == (decoding_of(context, method) / name).read_bytes()


def test_a_failure_of_the_search_names_the_utterances(staged, monkeypatch, tmp_path):
    work = shutil.copytree(staged[0], tmp_path / "work")
    monkeypatch.setattr(GraphSearch, "lattices", mock.Mock(side_effect=RuntimeError("Some bad things happened.")))
    shutil.rmtree(decoding_of(tiny_asr.make_context(work, staged[1].config, 5), "hlg"))
    with pytest.raises(ResourceError, match=r"(?s)eval-0\d\d \(\d+ frames\).*bad things.*max_active_states"):
        tiny_asr.decode_all(work, staged[1].config)


@pytest.mark.parametrize("source", ["features", "units"])
def test_histories_and_scores(trained, source):
    scores, suffix = read_json(artifacts.scores(trained[0].exp)), "" if source == "features" else "_from_units"
    results, gain = scores[f"asr{suffix}"], scores[f"gain{suffix}"]["fbank"]["eval"]["ctc_1best"]
    assert list(results) == list(tiny_asr.SYSTEMS) and 0 < gain["p_value"] <= 1  # the figures by hand: test_significance.py
    assert results["fbank"]["eval"]["hlg"]["wer"] < 40  # the made-up speech is easy
    for system in tiny_asr.SYSTEMS:
        records = list(read_jsonl(artifacts.history_in(tiny_asr.folder_of(trained[0], system, 0, source))))
        assert [record["step"] for record in records] == [20, 40] and records[1]["valid_loss"] < records[0]["valid_loss"]


def test_a_new_decoder_is_one_entry(trained, tmp_path, monkeypatch):
    def shout(search, log_probs, lengths, search_scale, scales):
        return dict.fromkeys(scales, DecodingResult(["BE"] * len(lengths)))

    monkeypatch.setitem(DECODERS, "shout", Decoder(shout, "Always the same word"))
    work, config = tmp_path / "work", tiny_asr.make_config({"seeds": (0, 1)}, decoding={"methods": ("shout",)})
    context = tiny_asr.decode_all(shutil.copytree(trained[1], work), config)
    rows = artifacts.hypotheses(decoding_of(context, "shout")).read_text()
    assert {row.split("\t")[2] for row in rows.splitlines()} == {"BE"}
    assert set(read_json(artifacts.scores(context.exp))["asr"]["fbank"]["eval"]) == {"shout"}
    assert method_title("shout") == "Always the same word"
