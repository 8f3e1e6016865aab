"""Stage 5 with all four methods and given LMs: scales from valid alone, times and lattices, speakers, what is not decoded."""

from __future__ import annotations

import dataclasses
import gzip
import os
import shutil

import numpy as np
import pytest
import torch
from lhotse import CutSet

from spin import artifacts
from spin.asr.decoding import CTC_1BEST, HLG, LATTICE, METHODS, NBEST, RESCORING, GraphDecoder
from spin.asr.decoding_batches import decoding_batches, survey
from spin.asr.decoding_job import DecodeJob, Decoding
from spin.asr.decoding_stage import decode
from spin.asr.features import Batch, open_cuts
from spin.asr.lang import load_lang
from spin.asr.lm import train_arpa
from spin.asr.recognise import Recogniser, release_recogniser, search_lang_folder, shared_recogniser
from spin.asr.training_stage import train_asr
from spin.asr.validate_lang import problems
from spin.errors import ResourceError
from spin.runtime.files import read_json
from tests.asr.conftest import WORDS, sentences

NO_TEXT, NO_FRAMES, LONG = "eval-000", "eval-001", "eval-002"
LIMIT_IN_S = 5.0


def odd_eval(exp, system: str) -> None:
    """Two speakers take turns; one utterance loses its text, one its frames."""
    path = artifacts.units_cuts(exp, system, "eval")
    cuts = list(CutSet.from_file(path))
    for number, cut in enumerate(cuts):
        cut.supervisions[0].speaker = f"speaker{number % 2}"
        if cut.id == NO_TEXT:
            cut.supervisions[0].text = ""
        if cut.id == NO_FRAMES:
            array = getattr(cut, artifacts.HIDDEN_FIELD)
            array.array.shape = [0, array.shape[1]]
    CutSet.from_cuts(cuts).to_file(path)


@pytest.fixture(scope="module")
def staged(made_corpus, tmp_path_factory, tools):
    """(context, (method, scales) of the recogniser's calls, parts read while tuning, parts read else). Not to be written to."""
    folder = tmp_path_factory.mktemp("staged")
    (folder / "data").symlink_to(made_corpus / "data")
    spoken = sentences(14, 3)
    spoken[2] = " ".join(spoken[:6])  # some seven seconds
    for system in artifacts.SYSTEMS:
        for part, texts in {"train": sentences(60, 1), "dev": sentences(6, 2), "eval": spoken}.items():
            tools.write_part(folder / "exp", system, part, texts, "one")
        odd_eval(folder / "exp", system)
    for order in (2, 3):
        train_arpa([*sentences(80, 5), "HOED CAB"], order, [*WORDS, "HOED"], folder / f"{order}.arpa")
    config = tools.config(subsampling=2, max_steps=60)
    decoding = dataclasses.replace(
        config.decoding, methods=METHODS, rescore_order=3, word_times=True, lattices=True, batch_seconds=LIMIT_IN_S,
        arpa=str(folder / "2.arpa"), rescore_arpa=str(folder / "3.arpa"),
    )  # fmt: skip
    context = tools.context(folder, dataclasses.replace(config, decoding=decoding))
    train_asr(context)
    calls, tuning, decoding_parts, depth = [], [], [], []
    recognise, outputs, tuned = Recogniser.recognise, Decoding.outputs, Decoding.tuned

    def spied_tuned(self, *arguments):
        depth.append(1)
        try:
            return tuned(self, *arguments)
        finally:
            depth.pop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recogniser, "recognise", lambda self, *given: (calls.append(given[:2]), recognise(self, *given))[1])
        patch.setattr(
            Decoding,
            "outputs",
            lambda self, parts: ((tuning if depth else decoding_parts).append(tuple(parts)), outputs(self, parts))[1],
        )
        patch.setattr(Decoding, "tuned", spied_tuned)
        decode(context)
    return context, calls, tuning, decoding_parts


def place(context, method: str, system: str = "spin"):
    return context.exp, system, 0, "eval", method


def hypotheses(context, method: str) -> dict[str, tuple[str, str]]:
    """Utterance -> (reference, text)."""
    rows = [line.split("\t") for line in artifacts.hypotheses(*place(context, method)).read_text(encoding="utf-8").splitlines()]
    return {name: (reference, text) for name, reference, text in rows}


def test_scales_come_from_the_valid_parts_alone(staged):
    context, calls, tuning, decoding_parts = staged
    assert set(tuning) == {context.config.corpus.valid} and set(decoding_parts) == {("eval",)}
    wanted = set()
    for system in artifacts.SYSTEMS:
        search = read_json(artifacts.lm_tuning(context.exp, system, 0))["lm_scale"]
        for method in METHODS[1:]:
            summary = read_json(artifacts.decode_summary(artifacts.decode_folder(*place(context, method, system))))
            if method in RESCORING:
                second = read_json(artifacts.rescoring_tuning(context.exp, system, 0, method))["lm_scale"]
                assert (summary["search_lm_scale"], summary["lm_scale"]) == (search, second)
            else:
                second = search
                assert summary["lm_scale"] == search
            wanted.add((method, (search, second)))
    assert {call for call in calls if call[0] != CTC_1BEST} == wanted


def decoding_of(context) -> Decoding:
    return Decoding(DecodeJob(context.config, context.exp, "spin", 0))


def test_both_scales_reach_the_recogniser(staged, monkeypatch):
    decoding = decoding_of(staged[0])
    monkeypatch.setattr(decoding, "tuned", lambda method, scale: {HLG: 0.2, NBEST: 0.7, LATTICE: 0.9}[method])
    assert decoding.scales(CTC_1BEST) == ({}, (0.0, 0.0))
    assert decoding.scales(HLG) == ({"lm_scale": 0.2}, (0.2, 0.2))
    assert decoding.scales(NBEST) == ({"search_lm_scale": 0.2, "lm_scale": 0.7}, (0.2, 0.7))
    assert decoding.scales(LATTICE) == ({"search_lm_scale": 0.2, "lm_scale": 0.9}, (0.2, 0.9))


@pytest.mark.parametrize(
    ("texts", "best", "rates"),
    [
        ({0.2: ["A X", None], 0.5: ["A B", "C"]}, 0.5, {"0.2": 200 / 3, "0.5": 0.0}),
        ({0.2: ["A B", "C"], 0.5: ["A", "C"]}, 0.2, {"0.2": 0.0, "0.5": 100 / 3}),
        ({0.2: ["A X", "C"], 0.5: ["A B", "X"]}, 0.2, {"0.2": 100 / 3, "0.5": 100 / 3}),  # the smaller of equals
    ],
)
def test_the_scale_with_the_lowest_rate_wins(staged, tmp_path, monkeypatch, texts, best, rates):
    decoding = decoding_of(staged[0])
    decoding.job = dataclasses.replace(decoding.job, exp=tmp_path)
    batch = Batch(["u", "v"], torch.zeros(2, 3, 1), torch.tensor([3, 2]), ["A B", "C"])
    monkeypatch.setattr(decoding, "outputs", lambda parts: iter([(batch, {}, batch.features, batch.lengths)]))
    monkeypatch.setattr(decoding, "texts_by_scale", lambda *_: texts)
    assert decoding.tuned(HLG, 0.35) == best
    written = read_json(artifacts.lm_tuning(tmp_path, "spin", 0))
    assert written["lm_scale"] == best and written["wer"] == pytest.approx(rates)


@pytest.mark.parametrize("method", [CTC_1BEST, HLG, LATTICE])
def test_times_say_the_hypotheses(staged, method):
    context = staged[0]
    said: dict[str, list[str]] = {}
    ends: dict[str, float] = {}
    for line in artifacts.word_times(artifacts.decode_folder(*place(context, method))).read_text(encoding="utf-8").splitlines():
        name, _, begin, length, word = line.split()
        said.setdefault(name, []).append(word)
        assert float(begin) >= ends.get(name, 0.0) - 1e-6
        ends[name] = float(begin) + float(length)
    texts = {name: text for name, (_, text) in hypotheses(context, method).items() if text}
    assert {name: " ".join(words) for name, words in said.items()} == texts
    durations = {cut.id: cut.duration for cut in open_cuts(context.exp, "spin", ["eval"])}
    shares = [end / durations[name] for name, end in ends.items()]
    assert 0.8 < np.median(shares) and max(shares) <= 1.0  # seconds of the speech, though two frames are one here
    assert read_json(artifacts.decode_summary(artifacts.decode_folder(*place(context, method))))["without_times"] == 0


def test_which_methods_write_times_and_lattices(staged):
    context = staged[0]
    decoded = set(hypotheses(context, HLG)) - {NO_FRAMES}
    for method in METHODS:
        folder = artifacts.decode_folder(*place(context, method))
        assert artifacts.word_times(folder).exists() == (method != NBEST)
        path = artifacts.lattice_texts(folder)
        assert path.exists() == (method in (HLG, LATTICE))
        if path.exists():
            blocks = gzip.decompress(path.read_bytes()).decode().split("\n\n")[:-1]
            assert sorted(block.split("\n")[0] for block in blocks) == sorted(decoded)


def test_utterances_that_have_no_times_are_counted(staged, monkeypatch, tmp_path):
    decoding = decoding_of(staged[0])
    monkeypatch.setattr("spin.asr.recognise.word_spans", lambda *_: None)
    monkeypatch.setattr("spin.asr.decoding_job.artifacts.decode_folder", lambda *_: tmp_path)
    monkeypatch.setattr("spin.asr.decoding_job.artifacts.hypotheses", lambda *_: tmp_path / "hypotheses.txt")
    decoding.decode_part(place(staged[0], HLG))
    summary = read_json(artifacts.decode_summary(tmp_path))
    texts = [line.split("\t")[2] for line in (tmp_path / "hypotheses.txt").read_text(encoding="utf-8").splitlines()]
    assert summary["without_times"] == sum(map(bool, texts)) > 5


def test_scores_over_two_speakers(staged):
    context = staged[0]
    scores = read_json(artifacts.scores(context.exp))
    for method in METHODS:
        low, high = scores["asr"]["baseline"]["eval"][method]["ci95_speakers"]
        assert low <= scores["asr"]["baseline"]["eval"][method]["wer"] <= high
        assert 0 < scores["gain"]["eval"][method]["p_value_speakers"] <= 1


@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_decoded_is_counted(staged, method):
    context = staged[0]
    found = hypotheses(context, method)
    assert NO_TEXT not in found and found[NO_FRAMES][1] == "" and found[LONG][1]
    summary = read_json(artifacts.decode_summary(artifacts.decode_folder(*place(context, method))))
    assert (summary["without_text"], summary["without_frames"], summary["utterances"]) == (1, 1, 13)
    assert summary["words"]["reference"] == sum(len(reference.split()) for reference, _ in found.values())
    assert summary["words"]["deletions"] >= len(found[NO_FRAMES][0].split()) > 0


@pytest.mark.parametrize("limit", [LIMIT_IN_S, 0.5, 1000.0])
def test_long_utterances_are_decoded_alone(staged, limit):
    cuts = open_cuts(staged[0].exp, "spin", ["eval"])
    found = survey(cuts, limit)
    batches = [[cut.id for cut in batch] for batch in decoding_batches(cuts, found, limit)]
    assert sorted(name for batch in batches for name in batch) == sorted({cut.id for cut in cuts} - {NO_TEXT, NO_FRAMES})
    assert found.fitting + found.long == 12
    assert found.long == {LIMIT_IN_S: 1, 0.5: 12, 1000.0: 0}[limit]
    assert limit == 1000.0 or [LONG] in batches


@pytest.mark.parametrize("method", METHODS)
def test_batches_that_k2_cannot_hold_are_halved(staged, monkeypatch, tmp_path, caplog, method):
    """Texts, times, lattices and the tuned scale are those of whole batches."""
    context, most = staged[0], []
    whole = {name: gzip.decompress(data) if name.endswith(".gz") else data for name, data in files_of(context, method).items()}
    lattices = GraphDecoder.lattices

    def limited(self, log_probs, lengths):
        if len(lengths) > 2:
            raise RuntimeError("Check failed: t == oarc_idx1")
        most.append(len(lengths))
        return lattices(self, log_probs, lengths)

    monkeypatch.setattr(GraphDecoder, "lattices", limited)
    exp = tmp_path / "exp"
    shutil.copytree(context.exp, exp, symlinks=True)
    shutil.rmtree(artifacts.decode_folder(exp, "spin", 0, "eval", method))
    for name in (HLG, NBEST, LATTICE):
        artifacts.rescoring_tuning(exp, "spin", 0, name).unlink(missing_ok=True)
    artifacts.lm_tuning(exp, "spin", 0).unlink()
    decoding = Decoding(DecodeJob(context.config, exp, "spin", 0))
    decoding.decode_part((exp, "spin", 0, "eval", method))
    halved = files_of(dataclasses.replace(context, exp=exp), method)
    assert halved.keys() == whole.keys()
    for name, data in halved.items():
        assert (gzip.decompress(data) if name.endswith(".gz") else data) == whole[name], name
    assert (method == CTC_1BEST) == (not most)
    assert method == CTC_1BEST or ("in halves" in caplog.text and max(most) == 2)


def files_of(context, method: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in artifacts.decode_folder(*place(context, method)).iterdir()}


def test_the_graph_is_read_once_and_again_when_it_has_changed(staged):
    context = staged[0]
    folder = search_lang_folder(context.config.decoding, context.exp)
    arguments = folder, context.config.decoding, torch.device("cpu")
    first = shared_recogniser(*arguments)
    assert shared_recogniser(*arguments) is first
    os.utime(artifacts.decoding_graph(folder, context.config.decoding.lm_order))
    second = shared_recogniser(*arguments)
    assert second is not first
    release_recogniser()
    assert shared_recogniser(*arguments) is not second
    release_recogniser()


def test_the_folder_with_the_words_of_a_given_lm_is_a_whole_one(staged):
    folder = search_lang_folder(staged[0].config.decoding, staged[0].exp)
    assert folder != artifacts.lang_folder(staged[0].exp)
    assert "HOED" in load_lang(folder).words and problems(folder) == []


def test_a_failure_of_the_search_names_the_utterances(staged, monkeypatch, tmp_path):
    context = staged[0]

    def failing(*_):
        raise RuntimeError("Some bad things happened.")

    decoding = decoding_of(context)
    monkeypatch.setattr(Recogniser, "recognise", failing)
    with pytest.raises(ResourceError, match=r"(?s)eval-0\d\d \(\d+ frames\).*bad things.*max_active_states"):
        decoding.decode_part(("nowhere", *place(context, CTC_1BEST)[1:]))
    monkeypatch.setattr(decoding, "texts_by_scale", failing)
    monkeypatch.setattr("spin.asr.decoding_job.artifacts.rescoring_tuning", lambda *_: tmp_path / "none_yet")
    with pytest.raises(ResourceError, match=r"dev-00\d"):
        decoding.tuned(LATTICE, 0.2)
