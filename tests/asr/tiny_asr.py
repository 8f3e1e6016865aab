"""Helpers of these tests: a small corpus as stages 0 and 3 leave it, posteriors of texts, one-sentence LM, a killed training."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from lhotse import CutSet, MonoCut, SupervisionSegment

from spin import artifacts, products
from spin.asr.decode import build_decodings
from spin.asr.graphs import build_graphs
from spin.asr.inputs import Recogniser
from spin.asr.lang import prepare_lang
from spin.asr.scores import build_scores
from spin.asr.training import Training, train_recognisers
from spin.config import AsrConfig, Config, CorpusConfig, DecodingConfig, GeneratedPart, RuntimeConfig
from spin.data.cuts import write_cuts
from spin.data.store import ArrayWriter
from spin.runtime.files import write_text
from spin.runtime.logs import get_logger
from spin.runtime.product import Context, Product, claim_folder
from spin.systems import systems_of

WORDS = ("AB", "ABBA", "BEAD", "CAB", "DACE", "FADE", "ECHO", "FACE", "HAD", "BE")
LETTERS = "ABCDEFHO "
DIMENSION = 12
FRAMES_PER_LETTER = 4
SYSTEMS = ("baseline", "fbank")  # the two that need no stage 2
NOISE = {"baseline": 0.5, "fbank": 0.1}
ROLES = {"train": "asr_train", "dev": "valid", "eval": "test"}
TEXTS = ["A CAB", "ABBA BE A", "CC EEL", "EEL EEL", "A A BAB", "BE CC"]
PRONUNCIATIONS = {
    "A": [("AH",)],
    "DREAD": [("D", "R", "EH", "D")],
    "READ": [("R", "IY", "D"), ("R", "EH", "D")],
    "RED": [("R", "EH", "D")],
    "ZOO": [("Z", "UW")],
}
PHONE_TEXTS = ["A RED", "READ A"]  # DREAD is in no training transcript; ZEBRA has no pronunciation
# A back-off weight of 10^-99 leaves nothing but the bigrams.
ONE_SENTENCE = """\\data\\
ngram 1=4
ngram 2=3

\\1-grams:
-99\t<s>\t-99
-99\t</s>
-99\tCAB\t-99
-99\tA\t-99

\\2-grams:
0\t<s> CAB
0\tCAB A
0\tA </s>

\\end\\
"""


def make_sentences(count: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=int(random.integers(2, 5)))) for _ in range(count)]


def make_config(asr: dict | None = None, **sections) -> Config:
    """Seconds of training on one core; `asr`, `corpus` and `decoding` are keys of these sections, others whole top keys."""
    defaults = {"model": "conv", "hidden": 16, "layers": 1, "dropout": 0.1, "max_steps": 40, "warmup_steps": 5}
    defaults |= {"learning_rate": 1e-2, "batch_seconds": 12.0, "valid_every_steps": 20, "checkpoint_every_steps": 10}
    part = GeneratedPart(first_speaker=0, speakers=1, utterances=1)
    corpus = {"spin_train": ("train",), **{role: (part,) for part, role in ROLES.items()}, "parts": dict.fromkeys(ROLES, part)}
    decoding = {"lm_order": 2, "bootstrap_samples": 200, "lm_scales": (0.2, 0.5), "batch_seconds": 20.0}
    given = {
        "systems": SYSTEMS,
        "corpus": CorpusConfig(**corpus | sections.pop("corpus", {})),
        "asr": AsrConfig(**defaults | (asr or {})),
        "decoding": DecodingConfig(**decoding | sections.pop("decoding", {})),
        "runtime": RuntimeConfig(nj=1, device="cpu"),
    }
    return Config(**given | sections)


def make_context(folder: Path, config: Config, stage: int = 4) -> Context:
    """The context of a stage whose products lie in `folder`."""
    return Context(config, folder / "exp", folder / "data", stage, get_logger("test"))


def publish(product: Product, write: Callable, *content) -> None:
    with product.building() as partial:
        write(partial, *content)


def make_cuts(part: str, texts: list[str], speakers: list[str]) -> list[MonoCut]:
    """Cuts of a part as stage 0 writes them; speakers take turns."""
    cuts = []
    for number, text in enumerate(texts):
        name = f"{part}-{number:03d}"
        duration = round((len(text) + 2) * FRAMES_PER_LETTER * artifacts.FRAME_SHIFT_IN_S + 0.005, 5)
        speaker = speakers[number % len(speakers)]
        supervision = SupervisionSegment(name, name, 0.0, duration, channel=0, text=text, speaker=speaker)
        cuts.append(MonoCut(name, 0.0, duration, 0, supervisions=[supervision]))
    return cuts


def spell_frames(text: str) -> list[int]:
    """FRAMES_PER_LETTER letter numbers per letter, with silence around."""
    return [LETTERS.index(letter) for letter in f" {text} " for _ in range(FRAMES_PER_LETTER)]


def write_arrays(folder: Path, field: str, cuts: list[MonoCut], arrays: list[np.ndarray]) -> None:
    """Writes a folder of stage 3: arrays and manifest."""
    written = []
    with ArrayWriter(folder, field) as writer:
        for cut, array in zip(cuts, arrays):
            cut = MonoCut.from_dict(cut.to_dict())
            stored = writer.write(cut.id, array, frame_shift=artifacts.FRAME_SHIFT_IN_S)
            written.append(cut.with_custom(field, stored))
    write_cuts(artifacts.cuts_in(folder), written)


def write_part(context: Context, part: str, texts: list[str], speakers: tuple[str, ...] = ("one",), frames=None) -> None:
    """Manifest, features and units of one part for all systems; `frames`: utterance number -> frames kept, to shorten some."""
    cuts, frames = make_cuts(part, texts, list(speakers)), frames or {}
    publish(products.manifest(context, part), write_cuts, cuts)
    letters = [np.array(spell_frames(text), dtype=np.int32)[: frames.get(number)] for number, text in enumerate(texts)]
    codes = np.random.default_rng(0).normal(size=(len(LETTERS), DIMENSION))
    for system in systems_of(context.config, context.exp):
        random, noise = np.random.default_rng([len(part), len(texts)]), NOISE[system.name]
        features = [(codes[row] + noise * random.normal(size=(len(row), DIMENSION))).astype(np.float16) for row in letters]
        publish(products.features(context, system, part), write_arrays, artifacts.HIDDEN_FIELD, cuts, features)
        if part in context.config.corpus.spin_train:
            publish(products.kmeans(context, system), write_text, "centres")
        publish(products.units(context, system, part), write_arrays, artifacts.UNITS_FIELD, cuts, letters)


def write_corpus(folder: Path, config: Config, parts: dict[str, tuple]) -> Context:
    """All products of stages 0 and 3 that stages 4 and 5 read; `parts` gives the arguments of write_part."""
    context = make_context(folder, config, stage=3)
    for path in (context.exp, context.corpus):
        claim_folder(path)
    for part, arguments in parts.items():
        write_part(context, part, *arguments)
    write_texts(context, [*parts["train"][0], *make_sentences(200, 4)])
    return context


def write_texts(context: Context, sentences: list[str], lexicon: dict[str, str] | None = None) -> None:
    """LM text and lexicon of stage 0; by default each letter is a phone."""
    lexicon = lexicon or {word: " ".join(word) for word in WORDS}
    publish(products.lm_text(context), write_text, "".join(f"{text}\n" for text in sentences))
    publish(products.lexicon(context), write_text, "".join(f"{word}\t{phones}\n" for word, phones in lexicon.items()))


def folder_of(context: Context, system: str = "fbank", seed: int = 0, source: str = "features") -> Path:
    return artifacts.recogniser_folder(context.exp, system, source, seed)


def cuts_of(folder: Path, part: str, source: str = "features") -> CutSet:
    """The cuts that recognisers of the baseline read."""
    context = make_context(folder, make_config())
    return Recogniser(context, systems_of(context.config, context.exp)[0], source, 0).cuts([part])


def make_posteriors(lang, texts: list[str], sharpness: float = 20.0, noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Each token in two frames, a blank between equal neighbours; longest text first."""
    rows = []
    for text in texts:
        frames: list[int] = [0]
        for token in lang.tokens.encode(text):
            frames += [0, token, token] if frames[-1] == token else [token, token]
        rows.append([*frames, 0])
    logits = torch.zeros(len(rows), max(map(len, rows)), lang.vocabulary_size)
    for row, frames in enumerate(rows):
        logits[row, torch.arange(len(frames)), torch.tensor(frames)] = sharpness
    logits += noise * torch.randn(logits.shape, generator=torch.Generator().manual_seed(3))
    return logits.log_softmax(-1), torch.tensor([len(frames) for frames in rows])


def walks(graph, scores: list[float], labels: list[int], free: int | None = None) -> Iterator[tuple[float, tuple[int, ...]]]:
    """(score, numbers of the arcs) of every way through a graph that reads `labels`, by walking every arc; `free` is no label."""
    arcs, leaving = graph.arcs.values().tolist(), {}
    for number, arc in enumerate(arcs):
        leaving.setdefault(arc[0], []).append(number)
    stack = [(0, 0, 0.0, ())]
    while stack:
        state, place, score, way = stack.pop()
        for number in leaving.get(state, ()):
            _, stop, label, _ = arcs[number]
            total, longer = score + scores[number], (*way, number)
            if label == free:
                stack.append((stop, place, total, longer))
            elif label == -1 and place == len(labels):
                yield total, longer
            elif place < len(labels) and label == labels[place]:
                stack.append((stop, place + 1, total, longer))


class Killed(Exception):
    """In place of SIGKILL."""


def spied(monkeypatch, name: str, look: Callable) -> None:
    """After each call of a method of Training, `look` gets the training, the arguments and what came back."""
    original = getattr(Training, name)

    def method(self, *given):
        result = original(self, *given)
        look(self, *given, result)
        return result

    monkeypatch.setattr(Training, name, method)


def train_until_killed(folder: Path, config: Config, step: int) -> None:
    """Stage 4, killed after a step of the filterbank's training, before anything of it is saved."""

    def kill(training, *_):
        if training.job.system.name == "fbank" and training.step == step:
            raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        spied(patch, "update", kill)
        train_all(folder, config)


def train_all(folder: Path, config: Config) -> Context:
    """As local/4_train_asr.py; returns the context of the stage."""
    context = make_context(folder, config)
    train_recognisers(context, prepare_lang(context), systems_of(config, context.exp))
    return context


def decode_all(folder: Path, config: Config) -> Context:
    """As the decoding half of local/5_decode_and_report.py; returns the context of the stage."""
    context = make_context(folder, config, stage=5)
    systems = systems_of(config, context.exp)
    build_graphs(context)
    build_scores(context, systems, build_decodings(context, systems))
    return context
