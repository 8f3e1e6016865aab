"""Phone recognisers: decoding to phones and to words, validation, both stages."""

from __future__ import annotations

import math

import pytest
import torch

from spin import artifacts
from spin.asr.batches import Batch
from spin.asr.decoders import DECODERS, SearchResources, best_path
from spin.asr.graphs import compose_graph, make_grammar, save_graph, train_arpa
from spin.asr.lang import WORDS_FILE, make_lang, save_lang
from spin.asr.training import evaluate, format_rates
from spin.config import AsrConfig, DecodingConfig
from spin.runtime.files import read_json
from tests.asr.tiny_asr import (
    PHONE_TEXTS,
    PRONUNCIATIONS,
    WORDS,
    decode_all,
    make_config,
    make_context,
    make_cuts,
    make_posteriors,
    make_sentences,
    run_stage_4,
    write_texts,
)


@pytest.fixture(scope="module")
def lang():
    return make_lang(AsrConfig(tokens="phone"), PHONE_TEXTS, ["RED A ZOO"], PRONUNCIATIONS)


def test_decoding_to_phones_and_to_words(lang, tmp_path):
    save_lang(lang, tmp_path)
    train_arpa(["READ A", "READ A", "A RED"], 2, lang.words, tmp_path / "lm.arpa")
    save_graph(compose_graph(lang, make_grammar(tmp_path / "lm.arpa", tmp_path / WORDS_FILE)), tmp_path / "graph.safetensors")
    resources = SearchResources(lang, {"HLG": tmp_path / "graph.safetensors"}, DecodingConfig(lm_order=2), torch.device("cpu"))
    ids = [lang.tokeniser.pieces.index(phone) for phone in "R EH D AH".split()]  # READ by its second pronunciation, or RED
    logits = torch.zeros(1, 9, lang.vocabulary_size)
    logits[0, torch.arange(9), torch.tensor([0, *(number for token in ids for number in (token, token))])] = 15.0
    for method, text in (("ctc_1best", "R EH D AH"), ("hlg", "READ A")):  # the LM prefers READ
        recognised = DECODERS[method].function(resources, logits.log_softmax(-1), torch.tensor([9]), 1.0, (1.0,))
        assert recognised[1.0].texts == [text]


def validate(lang, spoken: list[str], written: list[str]) -> dict:
    """evaluate() of a model whose posteriors are perfect for other texts than the references."""
    log_probs, lengths = make_posteriors(lang, spoken)
    batch = Batch(make_cuts("part", written, ["one"]), torch.zeros(len(written), 1, 1), lengths)

    class Model(torch.nn.Module):
        def forward(self, inputs, given):
            return log_probs

    return evaluate(Model(), lang, [batch], torch.device("cpu"))[0]


def test_perfect_posteriors_have_no_error(lang):
    texts = ["A DREAD READ", "READ A"]
    assert [lang.decode(ids) for ids in best_path(*make_posteriors(lang, texts))] == list(map(lang.reference, texts))
    valid = validate(lang, texts, texts)
    assert valid["wer"] == valid["cer"] == 0.0 and math.isfinite(valid["loss"])
    assert format_rates(lang, valid) == "PER 0.00 %"


def test_phone_error_rate_by_hand(lang):
    valid = validate(lang, ["A READ", "RED"], ["A RED", "A"])  # AH R IY D for AH R EH D; R EH D for AH
    assert valid["wer"] == valid["cer"] == pytest.approx(100 * 4 / 5)  # 1 + 3 errors, 4 + 1 phones


def test_what_no_training_can_teach_has_no_loss(lang):
    sound = validate(lang, ["A READ", "RED"], ["A READ", "RED"])["loss"]
    assert sound < 1e-3
    assert validate(lang, ["A READ", "RED"], ["A READ", "ZEBRA RED"])["loss"] == pytest.approx(sound, abs=1e-3)
    assert validate(lang, ["A READ", "RED"], ["A READ", "A RED"])["loss"] > 1.0
    letters = make_lang(AsrConfig(tokens="characters"), PHONE_TEXTS, [])
    assert validate(letters, ["A RED"], ["A RED\u00c9"])["loss"] == 0.0  # of no utterance


def test_stages_of_a_phone_recogniser(work_folder):
    """HAD has no pronunciation; a method without a graph ignores a given ARPA file."""
    asr = {"tokens": "phone", "max_steps": 20, "valid_every_steps": 20}
    config = make_config(asr, corpus={"max_bad_share": 0.9})
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
    decode_all(work_folder, make_config(asr, decoding={"methods": ("ctc_1best",), "arpa": "none"}))
