"""Phone recognisers: lexicon, lang folder with several pronunciations, decoding to phones and to words."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from spin import artifacts
from spin.asr.decoding import CTC_1BEST, HLG
from spin.asr.decoding_stage import decode
from spin.asr.graphs import prepare_graph, save_lexicon_fsts
from spin.asr.lang import load_lang, make_lang, save_lang
from spin.asr.lang_stage import read_pronunciations
from spin.asr.lm_sources import LmSource
from spin.asr.recognise import Recogniser
from spin.asr.training_stage import train_asr, why_unusable
from spin.asr.validate_lang import main, problems
from spin.config import AsrConfig, DecodingConfig
from spin.errors import DataError
from spin.runtime.files import read_json, write_text

SAID = {"READ": [("R", "IY", "D"), ("R", "EH", "D")], "RED": [("R", "EH", "D")], "A": [("AH",)], "ZOO": [("Z", "UW")]}
TEXTS = ["A RED", "READ A", "A READ"]


@pytest.fixture
def made(tmp_path):
    lang = make_lang(AsrConfig(tokens="phone"), TEXTS, ["RED A ZOO"], SAID)
    save_lexicon_fsts(lang, tmp_path)
    save_lang(lang, tmp_path)
    return lang, tmp_path


def test_lexicon_and_tokens(made):
    lang, folder = made
    assert lang.kind == "phone" and lang.words == ("A", "READ", "RED")  # no phone of ZOO was trained
    assert lang.tokeniser.pieces == ("<blk>", "<unk>", "AH", "D", "EH", "IY", "R")
    assert lang.decode(lang.encode("A READ")) == "AH R IY D"  # the first pronunciation
    assert [word for word, _ in lang.lexicon].count("READ") == 2
    again = load_lang(folder)
    assert (again.kind, again.lexicon, again.words, again.token_table) == ("phone", lang.lexicon, lang.words, lang.token_table)
    assert again.encode("READ A") == lang.encode("READ A")
    assert "RED R EH D #2\n" in (folder / "lexicon_disambig.txt").read_text(encoding="utf-8")
    assert problems(folder) == []
    assert why_unusable("A ZEBRA", 99, lang, 1) == "no pronunciation of ZEBRA"


def test_decoding_to_phones_and_to_words(made):
    lang, folder = made
    write_text(folder / "text", "READ A\nREAD A\nA RED\n")
    prepare_graph(lang, folder, LmSource(folder / "text", 2))
    recogniser = Recogniser(lang, folder, DecodingConfig(lm_order=2), torch.device("cpu"))
    ids = [lang.tokeniser.pieces.index(phone) for phone in "R EH D AH".split()]  # READ by its second pronunciation, or RED
    logits = torch.full((1, 9, lang.vocabulary_size), 0.0)
    logits[0, torch.arange(9), torch.tensor([0, *(number for token in ids for number in (token, token))])] = 15.0
    found = {
        method: recogniser.recognise(method, (1.0, 1.0), logits.log_softmax(-1), torch.tensor([9])) for method in (CTC_1BEST, HLG)
    }
    assert found[CTC_1BEST].texts == ["R EH D AH"]
    assert found[HLG].texts == ["READ A"]  # what the LM knows


def test_read_pronunciations(tmp_path):
    write_text(tmp_path / "lexicon", ";;; a remark\nread\tR IY1 D\nREAD(2) R EH1 D\n\nA AH0\nA AH2\n")
    assert read_pronunciations(tmp_path / "lexicon") == {"READ": [("R", "IY", "D"), ("R", "EH", "D")], "A": [("AH",)]}
    for content in ("", "WORD\n"):
        write_text(tmp_path / "bad", content)
        with pytest.raises(DataError, match="bad"):
            read_pronunciations(tmp_path / "bad")
    with pytest.raises(DataError, match="missing"):
        read_pronunciations(tmp_path / "missing")
    with pytest.raises(DataError, match="lexicon"):
        make_lang(AsrConfig(tokens="phone"), TEXTS, [], {"OTHER": [("AH",)]})


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("lexicon_disambig.txt", "#2", "#1", "lexicon_disambig.txt"),
        ("lexicon.txt", "A AH\n", "A D\n", "not the lexicon with its disambiguation symbols"),
        ("tokens.txt", "AH 2", "AH 3", "tokens.txt"),
        ("words.txt", "RED 4", "RAT 4", "lexicon.txt"),
    ],
)
def test_a_damaged_folder_is_found_out(made, name, old, new, said, capsys):
    _, folder = made
    assert main([str(folder)]) == 0
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    write_text(folder / name, text.replace(old, new))
    assert any(said in line for line in problems(folder))
    assert main([str(folder)]) == 1
    (folder / "L.pt").write_bytes(b"torn")
    assert problems(folder) and "all is well" in capsys.readouterr().out


def test_stages_of_a_phone_recogniser(work_folder, tools):
    (work_folder / "data").unlink()
    texts = "A BE CAB AB ABBA BEAD DACE DEAF ECHO FACE HAD".split()
    (work_folder / "data").mkdir()
    write_text(work_folder / "data" / "lexicon.txt", "".join(f"{word}\t{' '.join(word)}\n" for word in texts))
    write_text(artifacts.lm_text(work_folder / "data"), "AB CAB\nFACE BEAD\nECHO HAD\n")
    config = tools.config(tokens="phone", max_steps=20, valid_every_steps=20)
    context = tools.context(work_folder, dataclasses.replace(config))
    train_asr(context)
    stamp = artifacts.lang_key(artifacts.lang_folder(context.exp)).stat().st_mtime_ns
    decode(context)
    score = read_json(artifacts.scores(context.exp))["asr"]["spin"]["eval"]
    assert score["ctc_1best"]["per"] == score["ctc_1best"]["wer"] == score["ctc_1best"]["cer"]
    assert "per" not in score["hlg"]
    train_asr(context)  # the lang folder is found by its key
    assert artifacts.lang_key(artifacts.lang_folder(context.exp)).stat().st_mtime_ns == stamp
