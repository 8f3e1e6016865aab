"""Tokens (characters, BPE, phones), lexicon, disambiguation, the files of the lang folder; recognisers of phones."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spin import artifacts
from spin.asr.batches import Batch
from spin.asr.decoders import DECODERS
from spin.asr.graph_search import GraphSearch
from spin.asr.graphs import compose_graph, lexicon_fst, make_grammar, save_graph, train_arpa
from spin.asr.inputs import find_problem
from spin.asr.lang import disambiguate, extend_lang, load_lang, make_lang, read_lexicons, read_pronunciations, save_lang
from spin.asr.tokens import BLANK_ID, UNKNOWN_ID, BpeTokens, CharacterTokens
from spin.asr.training import evaluate
from spin.config import AsrConfig, DecodingConfig
from spin.errors import DataError
from spin.runtime.files import read_json, write_text
from tests.asr import tiny_asr

TEXT = ["THE CAT SAT", "A CAT'S HAT", "THE HATS"]
BPE_TEXT = [f"{first} {second}" for first in "THE THAT THIS".split() for second in "CAT HAT CHAT HATCH".split()] * 3
CHARACTERS, PHONE = AsrConfig(tokens="characters"), AsrConfig(tokens="phone")
words = st.text(alphabet="ACEHST'", min_size=1, max_size=6)


def test_characters_by_hand():
    tokens = CharacterTokens.train(["AB BA"])
    assert tokens.pieces == ("<blk>", "<unk>", "\u2581", "A", "B")
    assert tokens.encode("B A") == [2, 4, 2, 3]
    assert tokens.encode("C") == [2, UNKNOWN_ID]


@given(st.lists(words, max_size=5))
def test_characters_round_trip(sentence):
    lang = make_lang(CHARACTERS, TEXT, [])
    text = " ".join(sentence)
    ids = lang.tokens.encode(text)
    assert BLANK_ID not in ids and lang.tokens.decode(ids) == lang.tokens.decode([BLANK_ID, *ids, BLANK_ID]) == text


def test_bpe_round_trip_and_same_bytes_twice():
    first, second = (BpeTokens.train(BPE_TEXT, 24) for _ in range(2))
    assert first.model == second.model and first.pieces[:2] == ("<blk>", "<unk>")
    assert first.decode(first.encode("THIS CHAT")) == "THIS CHAT"
    assert BLANK_ID not in first.encode("THIS CHAT <blk>")
    with pytest.raises(DataError, match="vocabulary"):
        BpeTokens.train(["A B"], 500)


def test_words_are_of_transcripts_and_lm_text_and_unspellable_ones_are_left_out():
    lang = make_lang(AsrConfig(tokens="auto"), TEXT, ["THE TEST", "A ZEBRA"])
    assert lang.tokens.kind == "characters"  # for few words
    assert "TEST" in lang.words and "SAT" in lang.words
    assert "ZEBRA" not in lang.words  # Z and R were never trained
    assert lang.word_table[:2] == ("<eps>", "<UNK>") and lang.word_table[-3:] == ("#0", "<s>", "</s>")
    assert lang.reference("A ZEBRA") == "A ZEBRA"


def test_texts_without_words_are_errors():
    with pytest.raises(DataError, match="transcripts"):
        make_lang(CHARACTERS, [], ["A"])
    with pytest.raises(DataError, match="lexicon"):
        make_lang(PHONE, ["A RED"], ["A"], {"OTHER": [("AH",)]})


def test_disambiguate_by_hand():
    lexicon = [("A", (3,)), ("AB", (3, 4)), ("TWIN", (5,)), ("TWIN2", (5,)), ("C", (6,))]
    expected = (("A", (3, 11)), ("AB", (3, 4)), ("TWIN", (5, 11)), ("TWIN2", (5, 12)), ("C", (6,)))
    assert disambiguate(lexicon, 10) == (expected, 2)
    assert disambiguate([], 10) == ((), 0)


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple), max_size=12))
def test_disambiguated_pronunciations_are_prefix_free(pronunciations):
    lexicon = [(str(number), ids) for number, ids in enumerate(pronunciations)]
    result = [ids for _, ids in disambiguate(lexicon, 4)[0]]
    for first, ids in enumerate(result):
        for second, other in enumerate(result):
            assert first == second or other[: len(ids)] != ids


# Files
@pytest.mark.parametrize(
    ("config", "texts", "line"),
    [
        (CHARACTERS, TEXT, "HAT \u2581 H A T #1\n"),
        (AsrConfig(tokens="bpe", vocabulary_size=24), BPE_TEXT, ""),
        (PHONE, tiny_asr.PHONE_TEXTS, "RED R EH D #2\n"),
    ],
)
def test_save_and_load(tmp_path, config, texts, line):
    lang = make_lang(config, texts, ["THAT TEST"], tiny_asr.PRONUNCIATIONS)
    save_lang(lang, tmp_path)
    again = load_lang(tmp_path)
    assert again.tokens.kind == lang.tokens.kind and again.token_table == lang.token_table
    assert again.lexicon == lang.lexicon
    assert [again.tokens.encode(text) for text in texts] == [lang.tokens.encode(text) for text in texts]
    assert line in (tmp_path / "lexicon_disambig.txt").read_text(encoding="utf-8")
    save_lang(again, tmp_path / "again")
    assert all(path.read_bytes() == (tmp_path / path.name).read_bytes() for path in (tmp_path / "again").iterdir())


# Phones
@pytest.fixture(scope="module")
def lang():
    return make_lang(PHONE, tiny_asr.PHONE_TEXTS, ["RED A ZOO"], tiny_asr.PRONUNCIATIONS)


def test_words_have_the_phones_of_their_first_pronunciation_whether_in_the_graph_or_not(lang):
    assert lang.words == ("A", "READ", "RED")  # no phone of ZOO was trained
    assert lang.tokens.pieces == ("<blk>", "<unk>", "AH", "D", "EH", "IY", "R")
    assert lang.tokens.decode(lang.tokens.encode("A READ")) == "AH R IY D"
    assert [word for word, _ in lang.lexicon].count("READ") == 2
    assert lang.reference("A DREAD") == "AH D R EH D"
    assert lang.reference("ZEBRA READ ZEBRA") == "R IY D"
    assert find_problem("A ZEBRA", 99, lang) == "no pronunciation of ZEBRA"
    assert lexicon_fst(lang).labels.max().item() == lang.token_table.index("#2")


def test_pronunciations_keep_their_order(tmp_path):
    """Of words of the LM's file too, after a way through the folder's files; a set would give the order of the hashes."""
    variants = [tuple(said) for said in ("AB", "BA", "ABA", "B", "BAB", "A", "BB", "AA")]
    said = {"AB": variants, "BA": variants[::-1], "C": [("C",)]}
    save_lang(make_lang(PHONE, ["AB"], [], said), tmp_path)
    lang = extend_lang(load_lang(tmp_path), ["C", "BA"])
    spelled = [(word, tuple(lang.tokens.pieces[number] for number in ids)) for word, ids in lang.lexicon]
    assert spelled == [(word, phones) for word in ("AB", "BA") for phones in said[word]]
    assert extend_lang(load_lang(tmp_path), ["C"]).lexicon == load_lang(tmp_path).lexicon


def test_read_pronunciations(tmp_path):
    write_text(tmp_path / "lexicon", ";;; a comment\nread\tR IY1 D\nREAD(2) R EH1 D\n\nA AH0\nA AH2\n")
    assert read_pronunciations(tmp_path / "lexicon") == {"READ": [("R", "IY", "D"), ("R", "EH", "D")], "A": [("AH",)]}
    for name, content in (("empty", ""), ("phoneless", "WORD\n"), ("missing", None)):
        if content is not None:
            write_text(tmp_path / name, content)
        with pytest.raises(DataError, match=name):
            read_pronunciations(tmp_path / name)


def test_variants_follow_the_pronunciation_of_alignments(tmp_path):
    write_text(artifacts.lexicon(tmp_path), "A\tAH\nREAD\tR IY D\n")
    assert read_lexicons(AsrConfig(), tmp_path) == {"A": [("AH",)], "READ": [("R", "IY", "D")]}
    write_text(artifacts.lexicon_variants(tmp_path), "")
    assert list(read_lexicons(AsrConfig(), tmp_path)) == ["A", "READ"]
    write_text(artifacts.lexicon_variants(tmp_path), "READ\tR EH D\nREAD\tR IY D\nREAD\tR EY D\n")
    assert read_lexicons(AsrConfig(), tmp_path)["READ"] == [("R", "IY", "D"), ("R", "EH", "D"), ("R", "EY", "D")]
    write_text(tmp_path / "given", "B\tB IY\n")
    assert read_lexicons(AsrConfig(lexicon=str(tmp_path / "given")), tmp_path) == {"B": [("B", "IY")]}


def test_decoding_to_phones_and_to_words(lang, tmp_path):
    save_lang(lang, tmp_path)
    train_arpa(["READ A", "READ A", "A RED"], 2, lang.words, tmp_path / "lm.arpa")
    save_graph(compose_graph(lang, make_grammar(tmp_path / "lm.arpa", tmp_path / "words.txt")), tmp_path / "graph.safetensors")
    search = GraphSearch(lang, {"HLG": tmp_path / "graph.safetensors"}, DecodingConfig(lm_order=2), torch.device("cpu"))
    ids = [lang.tokens.pieces.index(phone) for phone in "R EH D AH".split()]  # READ by its second pronunciation, or RED
    logits = torch.zeros(1, 9, lang.vocabulary_size)
    logits[0, torch.arange(9), torch.tensor([0, *(number for token in ids for number in (token, token))])] = 15.0
    for method, text in (("ctc_1best", "R EH D AH"), ("hlg", "READ A")):  # the LM prefers READ
        recognised = DECODERS[method].function(search, logits.log_softmax(-1), torch.tensor([9]), 1.0, (1.0,))
        assert recognised[1.0].texts == [text]


def validate(lang, spoken: list[str], written: list[str]) -> dict:
    """evaluate() of a model whose posteriors are perfect for other texts than the references."""
    log_probs, lengths = tiny_asr.make_posteriors(lang, spoken)
    batch = Batch(tiny_asr.make_cuts("part", written, ["one"]), torch.zeros(len(written), 1, 1), lengths)
    model = torch.nn.Module()
    model.forward = lambda inputs, given: log_probs
    return evaluate(model, lang, [batch], torch.device("cpu"))[0]


def test_validation_by_hand(lang):
    valid = validate(lang, ["A READ", "RED"], ["A RED", "A"])  # AH R IY D for AH R EH D; R EH D for AH
    assert valid["wer"] == valid["cer"] == pytest.approx(100 * 4 / 5)  # 1 + 3 errors, 4 + 1 phones
    sound = validate(lang, ["A READ", "RED"], ["A READ", "RED"])["loss"]
    assert sound < 1e-3
    assert validate(lang, ["A READ", "RED"], ["A READ", "ZEBRA RED"])["loss"] == pytest.approx(sound, abs=1e-3)
    assert validate(lang, ["A READ", "RED"], ["A READ", "A RED"])["loss"] > 1.0
    letters = make_lang(AsrConfig(tokens="characters"), tiny_asr.PHONE_TEXTS, [])
    assert validate(letters, ["A RED"], ["A RED\u00c9"])["loss"] == 0.0  # of no utterance


def test_stages_of_a_phone_recogniser(work_folder):
    """HAD has no pronunciation; a method without a graph ignores a given ARPA file."""
    asr = {"tokens": "phone", "max_steps": 20, "valid_every_steps": 20}
    config = tiny_asr.make_config(asr, corpus={"max_bad_share": 0.9})
    lexicon = {word: " ".join(word) for word in tiny_asr.WORDS if word != "HAD"}
    tiny_asr.write_texts(tiny_asr.make_context(work_folder, config, stage=3), tiny_asr.make_sentences(20, 4), lexicon)
    tiny_asr.train_all(work_folder, config)
    context = tiny_asr.decode_all(work_folder, config)
    score = read_json(artifacts.scores(context.exp))["asr"]["fbank"]["eval"]
    assert score["ctc_1best"]["per"] == score["ctc_1best"]["wer"] == score["ctc_1best"]["cer"]
    assert "per" not in score["hlg"]
    folder = artifacts.decoding_folder(context.exp, "fbank", "features", 0, "eval", "ctc_1best")
    references = [line.split("\t")[1] for line in artifacts.hypotheses(folder).read_text(encoding="utf-8").splitlines()]
    spoken = tiny_asr.make_sentences(10, 3)
    count = read_json(artifacts.decode_summary(folder))["words_without_pronunciation"]
    assert count == " ".join(spoken).split().count("HAD") > 0
    assert references == [" ".join(letter for word in text.split() if word != "HAD" for letter in word) for text in spoken]
    tiny_asr.decode_all(work_folder, tiny_asr.make_config(asr, decoding={"methods": ("ctc_1best",), "arpa": "none"}))
