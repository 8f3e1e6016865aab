"""Phone recognisers: lexicon, lang folder with several pronunciations, references, decoding to phones and to words."""

from __future__ import annotations

import math

import pytest
import torch

from spin import artifacts
from spin.asr.batches import Batch
from spin.asr.decoders import DECODERS, Tools, best_path
from spin.asr.graphs import compose_graph, lexicon_fst, save_graph
from spin.asr.lang import PRONUNCIATIONS_FILE, WORDS_FILE, load_lang, make_lang, save_lang
from spin.asr.lm import make_grammar, train_arpa
from spin.asr.prepare_lang import read_lexicons, read_pronunciations
from spin.asr.train_asr import find_problem
from spin.asr.validation import evaluate, format_rates
from spin.config import AsrConfig, DecodingConfig
from spin.errors import DataError
from spin.runtime.files import read_json, write_text
from tests.asr.tiny_asr import (
    WORDS,
    decode_all,
    make_config,
    make_context,
    make_posteriors,
    make_sentences,
    run_stage_4,
    write_texts,
)

LEXICON = {
    "A": [("AH",)],
    "DREAD": [("D", "R", "EH", "D")],
    "READ": [("R", "IY", "D"), ("R", "EH", "D")],
    "RED": [("R", "EH", "D")],
    "ZOO": [("Z", "UW")],
}
TEXTS = ["A RED", "READ A"]  # DREAD is in no training transcript; ZEBRA has no pronunciation


@pytest.fixture
def lang(tmp_path):
    save_lang(make_lang(AsrConfig(tokens="phone"), TEXTS, ["RED A ZOO"], LEXICON), tmp_path)
    return load_lang(tmp_path)


def test_lexicon_and_tokens(lang, tmp_path):
    assert lang.kind == "phone" and lang.words == ("A", "READ", "RED")  # no phone of ZOO was trained
    assert lang.tokeniser.pieces == ("<blk>", "<unk>", "AH", "D", "EH", "IY", "R")
    assert lang.decode(lang.encode("A READ")) == "AH R IY D"  # the first pronunciation
    assert [word for word, _ in lang.lexicon].count("READ") == 2
    again = make_lang(AsrConfig(tokens="phone"), TEXTS, ["RED A ZOO"], LEXICON)
    assert (again.kind, again.lexicon, again.words, again.token_table) == ("phone", lang.lexicon, lang.words, lang.token_table)
    assert "RED R EH D #2\n" in (tmp_path / "lexicon_disambig.txt").read_text(encoding="utf-8")
    assert find_problem("A ZEBRA", 99, lang) == "no pronunciation of ZEBRA"
    labels = [lexicon_fst(lang, disambiguated).labels.max().item() for disambiguated in (False, True)]
    assert labels == [6, lang.token_table.index("#2")]


def test_decoding_to_phones_and_to_words(lang, tmp_path):
    train_arpa(["READ A", "READ A", "A RED"], 2, lang.words, tmp_path / "lm.arpa")
    graph = compose_graph(lang, make_grammar(tmp_path / "lm.arpa", tmp_path / WORDS_FILE))
    save_graph(graph, tmp_path / "graph.safetensors")
    tools = Tools(lang, {"HLG": tmp_path / "graph.safetensors"}, DecodingConfig(lm_order=2), torch.device("cpu"))
    ids = [lang.tokeniser.pieces.index(phone) for phone in "R EH D AH".split()]  # READ by its second pronunciation, or RED
    logits = torch.full((1, 9, lang.vocabulary_size), 0.0)
    logits[0, torch.arange(9), torch.tensor([0, *(number for token in ids for number in (token, token))])] = 15.0
    texts = {
        method: DECODERS[method].function(tools, logits.log_softmax(-1), torch.tensor([9]), 1.0, (1.0,))[1.0].texts
        for method in ("ctc_1best", "hlg")
    }
    assert texts == {"ctc_1best": ["R EH D AH"], "hlg": ["READ A"]}  # the LM prefers READ


def test_read_pronunciations(tmp_path):
    write_text(tmp_path / "lexicon", ";;; a comment\nread\tR IY1 D\nREAD(2) R EH1 D\n\nA AH0\nA AH2\n")
    assert read_pronunciations(tmp_path / "lexicon") == {"READ": [("R", "IY", "D"), ("R", "EH", "D")], "A": [("AH",)]}
    for content in ("", "WORD\n"):
        write_text(tmp_path / "bad", content)
        with pytest.raises(DataError, match="bad"):
            read_pronunciations(tmp_path / "bad")
    with pytest.raises(DataError, match="missing"):
        read_pronunciations(tmp_path / "missing")
    with pytest.raises(DataError, match="lexicon"):
        make_lang(AsrConfig(tokens="phone"), TEXTS, [], {"OTHER": [("AH",)]})


def test_variants_follow_the_pronunciation_of_alignments(tmp_path):
    write_text(artifacts.lexicon(tmp_path), "A\tAH\nREAD\tR IY D\n")
    assert read_lexicons(AsrConfig(), tmp_path) == {"A": [("AH",)], "READ": [("R", "IY", "D")]}
    write_text(artifacts.lexicon(tmp_path, variants=True), "")
    assert list(read_lexicons(AsrConfig(), tmp_path)) == ["A", "READ"]
    write_text(artifacts.lexicon(tmp_path, variants=True), "READ\tR EH D\nREAD\tR IY D\nREAD\tR EY D\n")
    assert read_lexicons(AsrConfig(), tmp_path)["READ"] == [("R", "IY", "D"), ("R", "EH", "D"), ("R", "EY", "D")]
    write_text(tmp_path / "given", "B\tB IY\n")
    assert read_lexicons(AsrConfig(lexicon=str(tmp_path / "given")), tmp_path) == {"B": [("B", "IY")]}


def validate(lang, spoken: list[str], written: list[str]) -> dict:
    """evaluate() of a model whose posteriors are perfect for other texts than the references."""
    log_probs, lengths = make_posteriors(lang, spoken)
    batch = Batch([str(row) for row in range(len(written))], torch.zeros(len(written), 1, 1), lengths, written, 1.0)

    class Model(torch.nn.Module):
        def forward(self, inputs, given):
            return log_probs

    return evaluate(Model(), lang, [batch], torch.device("cpu"))[0]


def test_words_beyond_the_graph_have_phones(lang, tmp_path):
    assert lang.words == ("A", "READ", "RED")
    assert lang.reference("A DREAD") == "AH D R EH D" and lang.count_unpronounced("A DREAD") == 0
    assert lang.reference("ZEBRA READ ZEBRA") == "R IY D" and lang.count_unpronounced("ZEBRA READ ZEBRA") == 2
    save_lang(lang, tmp_path / "again")
    assert (tmp_path / "again" / PRONUNCIATIONS_FILE).read_bytes() == (tmp_path / PRONUNCIATIONS_FILE).read_bytes()
    (tmp_path / PRONUNCIATIONS_FILE).unlink()
    with pytest.raises(DataError, match=PRONUNCIATIONS_FILE):
        load_lang(tmp_path)


def test_of_letters_the_reference_is_the_text(tmp_path):
    letters = make_lang(AsrConfig(tokens="characters"), TEXTS, [])
    assert letters.reference("A ZEBRA") == "A ZEBRA" and letters.count_unpronounced("A ZEBRA") == 0
    save_lang(letters, tmp_path)
    assert not (tmp_path / PRONUNCIATIONS_FILE).exists()


def test_perfect_posteriors_have_no_error(lang):
    texts = ["A DREAD READ", "READ A"]
    assert [lang.decode(ids) for ids in best_path(*make_posteriors(lang, texts))] == list(map(lang.reference, texts))
    valid = validate(lang, texts, texts)
    assert valid["wer"] == valid["cer"] == 0.0 and math.isfinite(valid["loss"])
    assert format_rates(lang, valid) == "PER 0.00 %"


def test_phone_error_rate_by_hand(lang):
    valid = validate(lang, ["A READ", "RED"], ["A RED", "A"])  # AH R IY D for AH R EH D; R EH D for AH
    assert valid["wer"] == valid["cer"] == pytest.approx(100 * 4 / 5)  # 1 + 3 errors, 4 + 1 phones


def test_what_no_training_can_teach_has_no_loss(lang, tmp_path):
    sound = validate(lang, ["A READ", "RED"], ["A READ", "RED"])["loss"]
    assert sound < 1e-3
    assert validate(lang, ["A READ", "RED"], ["A READ", "ZEBRA RED"])["loss"] == pytest.approx(sound, abs=1e-3)
    assert validate(lang, ["A READ", "RED"], ["A READ", "A RED"])["loss"] > 1.0
    letters = make_lang(AsrConfig(tokens="characters"), TEXTS, [])
    assert validate(letters, ["A RED"], ["A RED\u00c9"])["loss"] == 0.0  # of no utterance


def test_stages_of_a_phone_recogniser(work_folder):
    """HAD has no pronunciation; a method without a graph ignores a given ARPA file."""
    config = make_config({"tokens": "phone", "max_steps": 20, "valid_every_steps": 20}, corpus={"max_bad_share": 0.9})
    lexicon = {word: " ".join(word) for word in WORDS if word != "HAD"}
    write_texts(make_context(work_folder, config, stage=3), make_sentences(20, 4), lexicon)
    run_stage_4(make_context(work_folder, config))
    context = decode_all(work_folder, config)
    score = read_json(artifacts.scores(context.exp))["asr"]["fbank"]["eval"]
    assert score["ctc_1best"]["per"] == score["ctc_1best"]["wer"] == score["ctc_1best"]["cer"]
    assert "per" not in score["hlg"]
    folder = artifacts.decoding_folder(context.exp, "fbank", "features", 0, "eval", "ctc_1best")
    references = [line.split("\t")[1] for line in artifacts.hypotheses(folder).read_text(encoding="utf-8").splitlines()]
    spoken = make_sentences(10, 3)
    count = read_json(artifacts.decode_summary(folder))["words_without_pronunciation"]
    assert count == " ".join(spoken).split().count("HAD") > 0
    assert references == [" ".join(letter for word in text.split() if word != "HAD" for letter in word) for text in spoken]
    given = make_config(
        {"tokens": "phone", "max_steps": 20, "valid_every_steps": 20}, decoding={"methods": ("ctc_1best",), "arpa": "none"}
    )
    decode_all(work_folder, given)
