"""What a phone recogniser is held against: the phones of all words that have any, whether the graph knows the words or not."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from spin import artifacts
from spin.asr.decoding import CTC_1BEST, HLG, best_path
from spin.asr.decoding_stage import decode
from spin.asr.features import Batch, open_cuts, text_of
from spin.asr.lang import SAID_FILE, load_lang, make_lang, save_lang
from spin.asr.lang_stage import pronunciations
from spin.asr.recognise import search_lang_folder
from spin.asr.training_stage import train_asr
from spin.asr.validation import evaluate, rates
from spin.config import AsrConfig, DecodingConfig
from spin.errors import DataError
from spin.runtime.files import read_json, write_text
from tests.asr.toys import posteriors

SAID = {"A": [("AH",)], "DREAD": [("D", "R", "EH", "D")], "READ": [("R", "IY", "D"), ("R", "EH", "D")], "RED": [("R", "EH", "D")]}
TEXTS = ["A RED", "READ A"]  # DREAD is a word of no training transcript; ZEBRA has no pronunciation


@pytest.fixture
def lang(tmp_path):
    made = make_lang(AsrConfig(tokens="phone"), TEXTS, [], SAID)
    save_lang(made, tmp_path)
    return load_lang(tmp_path)


def test_variants_follow_the_pronunciation_of_alignments(tmp_path):
    write_text(artifacts.lexicon(tmp_path), "A\tAH\nREAD\tR IY D\n")
    assert pronunciations(AsrConfig(), tmp_path) == {"A": [("AH",)], "READ": [("R", "IY", "D")]}
    write_text(artifacts.lexicon(tmp_path, variants=True), "")
    assert list(pronunciations(AsrConfig(), tmp_path)) == ["A", "READ"]
    write_text(artifacts.lexicon(tmp_path, variants=True), "READ\tR EH D\nREAD\tR IY D\nREAD\tR EY D\n")
    assert pronunciations(AsrConfig(), tmp_path)["READ"] == [("R", "IY", "D"), ("R", "EH", "D"), ("R", "EY", "D")]
    write_text(tmp_path / "given", "B\tB IY\n")
    assert pronunciations(AsrConfig(lexicon=str(tmp_path / "given")), tmp_path) == {"B": [("B", "IY")]}


def validated(lang, spoken: list[str], written: list[str]) -> dict:
    """evaluate() of a model whose posteriors are flawless for other texts than the references."""
    log_probs, lengths = posteriors(lang, spoken)
    batch = Batch([str(row) for row in range(len(written))], torch.zeros(len(written), 1, 1), lengths, written)

    class Model(torch.nn.Module):
        def forward(self, features, given):
            return log_probs, given

    return evaluate(Model(), lang, [batch], torch.device("cpu"))[0]


def test_words_beyond_the_graph_have_phones(lang, tmp_path):
    assert lang.words == ("A", "READ", "RED")
    assert lang.reference("A DREAD") == "AH D R EH D" and lang.unpronounced("A DREAD") == 0
    assert lang.reference("ZEBRA READ ZEBRA") == "R IY D" and lang.unpronounced("ZEBRA READ ZEBRA") == 2
    save_lang(lang, tmp_path / "again")
    assert (tmp_path / "again" / SAID_FILE).read_bytes() == (tmp_path / SAID_FILE).read_bytes()
    (tmp_path / SAID_FILE).unlink()
    with pytest.raises(DataError, match=SAID_FILE):
        load_lang(tmp_path)


def test_of_letters_the_reference_is_the_text(tmp_path):
    letters = make_lang(AsrConfig(tokens="characters"), TEXTS, [])
    assert letters.reference("A ZEBRA") == "A ZEBRA" and letters.unpronounced("A ZEBRA") == 0
    save_lang(letters, tmp_path)
    assert not (tmp_path / SAID_FILE).exists()


def test_flawless_posteriors_have_no_error(lang):
    texts = ["A DREAD READ", "READ A"]
    assert [lang.decode(ids) for ids in best_path(*posteriors(lang, texts))] == list(map(lang.reference, texts))
    valid = validated(lang, texts, texts)
    assert valid["wer"] == valid["cer"] == 0.0 and math.isfinite(valid["loss"])
    assert rates(lang, valid) == "PER 0.00 %"


def test_phone_error_rate_by_hand(lang):
    valid = validated(lang, ["A READ", "RED"], ["A RED", "A"])  # AH R IY D for AH R EH D; R EH D for AH
    assert valid["wer"] == valid["cer"] == pytest.approx(100 * 4 / 5)  # 1 + 3 errors, 4 + 1 phones


def test_what_no_training_can_teach_has_no_loss(lang, tmp_path):
    sound = validated(lang, ["A READ", "RED"], ["A READ", "RED"])["loss"]
    assert sound < 1e-3
    assert validated(lang, ["A READ", "RED"], ["A READ", "ZEBRA RED"])["loss"] == pytest.approx(sound, abs=1e-3)
    assert validated(lang, ["A READ", "RED"], ["A READ", "A RED"])["loss"] > 1.0
    letters = make_lang(AsrConfig(tokens="characters"), TEXTS, [])
    assert validated(letters, ["A RED"], ["A RED\u00c9"])["loss"] == 0.0  # of no utterance at all


def test_the_folder_of_more_words_is_that_of_a_graph_only(tmp_path):
    given = DecodingConfig(arpa="any.arpa", methods=(CTC_1BEST,))
    assert search_lang_folder(given, tmp_path) == artifacts.lang_folder(tmp_path)
    assert search_lang_folder(dataclasses.replace(given, methods=(HLG,)), tmp_path) == artifacts.decoding_lang_folder(tmp_path)


def test_stage_5_counts_words_without_a_pronunciation(work_folder, tools):
    """A given ARPA file without a method that searches a graph is no obstacle either."""
    (work_folder / "data").unlink()
    (work_folder / "data").mkdir()
    words = "A BE CAB AB ABBA BEAD DACE DEAF ECHO FACE".split()  # all that is spoken but HAD
    write_text(work_folder / "data" / "lexicon.txt", "".join(f"{word}\t{' '.join(word)}\n" for word in words))
    write_text(artifacts.lm_text(work_folder / "data"), "AB CAB\n")
    config = tools.config(tokens="phone", max_steps=4, valid_every_steps=4)
    given = dataclasses.replace(config.decoding, methods=(CTC_1BEST,), arpa=str(work_folder / "given.arpa"))
    write_text(work_folder / "given.arpa", "not looked at")
    corpus = dataclasses.replace(config.corpus, max_bad_share=0.9)
    context = tools.context(work_folder, dataclasses.replace(config, decoding=given, corpus=corpus))
    train_asr(context)
    decode(context)
    place = (context.exp, "spin", 0, "eval", CTC_1BEST)
    texts = [line.split("\t")[1] for line in artifacts.hypotheses(*place).read_text(encoding="utf-8").splitlines()]
    count = read_json(artifacts.decode_summary(artifacts.decode_folder(*place)))["words_without_pronunciation"]
    spoken = list(map(text_of, open_cuts(context.exp, "spin", ("eval",))))
    assert count == " ".join(spoken).split().count("HAD") > 0
    assert texts == [" ".join(letter for word in text.split() if word != "HAD" for letter in word) for text in spoken]
