"""From lexicon and LM to the decoding graph: L, L o G, H o L o G, by the conventions of k2 and icefall.

The graph is stored with the key of what it was made from, as plain tensors: reading it runs no code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import k2
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from spin import artifacts
from spin.asr.lang import Lang
from spin.asr.lm_sources import LmSource
from spin.errors import DataError
from spin.runtime.files import atomic_path
from spin.runtime.logs import get_logger
from spin.runtime.tensor_files import DAMAGE, read_tensor_file

LEXICON_FST_FILE, DISAMBIG_FST_FILE = "L.pt", "L_disambig.pt"


def lexicon_fst(lang: Lang, disambiguated: bool) -> k2.Fsa:
    """L, from tokens to words: one loop state, a path from and to it for each pronunciation.

    Args:
        lang: lexicon and tables.
        disambiguated: with #1 and up after ambiguous pronunciations and a self-loop that lets #0 through, for composition with G.
    """
    lexicon, _ = lang.disambiguated if disambiguated else (lang.lexicon, 0)
    word_ids = {word: number for number, word in enumerate(lang.word_table)}
    arcs = []
    if disambiguated:
        arcs.append((0, 0, lang.vocabulary_size, word_ids["#0"]))
    state = 1
    for word, tokens in lexicon:
        states = [0, *range(state, state + len(tokens) - 1), 0]
        state += len(tokens) - 1
        for position, token in enumerate(tokens):
            arcs.append((states[position], states[position + 1], token, word_ids[word] if position == 0 else 0))
    final = state
    arcs.append((0, final, -1, -1))
    lines = [f"{start} {stop} {label} {word} 0" for start, stop, label, word in sorted(arcs)]
    return k2.Fsa.from_str("\n".join([*lines, str(final)]), acceptor=False)


def save_lexicon_fsts(lang: Lang, folder: Path) -> None:
    """Writes L.pt and L_disambig.pt as icefall does: torch.save of the FSA's dictionary of tensors."""
    for name, disambiguated in ((LEXICON_FST_FILE, False), (DISAMBIG_FST_FILE, True)):
        with atomic_path(folder / name) as temporary:
            torch.save(lexicon_fst(lang, disambiguated).as_dict(), temporary)


def load_lexicon_fst(path: Path) -> k2.Fsa:
    """An FSA that save_lexicon_fsts wrote; runs no code from the file.

    Raises:
        DataError: missing or damaged.
    """
    try:
        return k2.Fsa.from_dict(read_tensor_file(path))
    except DAMAGE as error:
        found = " ".join(str(error).split())[:200]
        raise DataError(str(path), found=found, expected="an FSA of the lang folder", remedy="run stage 4") from error


def compose_graph(lang: Lang, grammar_fst: k2.Fsa) -> k2.Fsa:
    """H o L o G: an arc-sorted graph from CTC labels (0 is blank) to words, ready for pruned intersection.

    Its `aux_labels` are ragged (word ids of each arc) and its scores are those of the LM.

    Raises:
        DataError: lexicon and LM share no word.
    """
    first, last = 2, len(lang.words) + 1  # ids of the words, between <UNK> and #0
    if not ((grammar_fst.labels >= first) & (grammar_fst.labels <= last)).any():
        raise DataError(
            "L o G",
            found="no word of the lexicon in the LM",
            expected="words that both share",
            cause="LM text of another language",
        )
    lexicon = k2.arc_sort(lexicon_fst(lang, disambiguated=True))
    graph = k2.connect(k2.compose(lexicon, k2.arc_sort(grammar_fst)))
    graph = k2.connect(k2.determinize(graph))
    graph = _without_disambiguation(graph, lang)
    graph = k2.connect(k2.remove_epsilon(graph))
    graph.aux_labels = _ragged(graph.aux_labels).remove_values_eq(0)
    graph = k2.arc_sort(graph)
    topology = k2.ctc_topo(lang.vocabulary_size - 1)
    return k2.arc_sort(k2.connect(k2.compose(topology, graph, inner_labels="tokens")))


def _without_disambiguation(graph: k2.Fsa, lang: Lang) -> k2.Fsa:
    # The labels are replaced by a changed copy: in k2 1.23.4 a change in place is not seen by the underlying arcs and properties.
    labels = graph.labels.clone()
    labels[labels >= lang.vocabulary_size] = 0
    graph.labels = labels
    back_off = len(lang.word_table) - 3
    if isinstance(graph.aux_labels, k2.RaggedTensor):
        values = graph.aux_labels.values.clone()
        values[values >= back_off] = 0
        graph.aux_labels = k2.RaggedTensor(graph.aux_labels.shape, values)
    else:
        values = graph.aux_labels.clone()
        values[values >= back_off] = 0
        graph.aux_labels = values
    return graph


def _ragged(labels: torch.Tensor | k2.RaggedTensor) -> k2.RaggedTensor:
    """One list an arc, whether an operation of k2 gave back a tensor or lists."""
    if isinstance(labels, k2.RaggedTensor):
        return labels
    splits = torch.arange(labels.numel() + 1, dtype=torch.int32)
    return k2.RaggedTensor(k2.ragged.create_ragged_shape2(splits, cached_tot_size=labels.numel()), labels)


def save_graph(graph: k2.Fsa, path: str | Path, key: str) -> None:
    """Writes arcs and word ids as a safetensors file whose metadata holds the key."""
    words = _ragged(graph.aux_labels)
    tensors = {"arcs": graph.arcs.values(), "word_splits": words.shape.row_splits(1), "words": words.values}
    tensors = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"key": key})


def load_graph(path: str | Path, device: torch.device | str = "cpu") -> k2.Fsa:
    """The decoding graph with `lm_scores`, the scores of its arcs before any scaling."""
    with safe_open(path, framework="pt") as file:
        arcs, splits, values = (file.get_tensor(name) for name in ("arcs", "word_splits", "words"))
    graph = k2.Fsa(arcs.contiguous())
    shape = k2.ragged.create_ragged_shape2(splits.contiguous(), cached_tot_size=values.numel())
    graph.aux_labels = k2.RaggedTensor(shape, values.contiguous())
    graph = k2.arc_sort(graph).to(device)
    graph.lm_scores = graph.scores.clone()
    return graph


def graph_key(lang: Lang, lm_digest: str) -> str:
    """A digest of everything the graph is made from: lexicon, tables, LM (LmSource.digest), versions of the tools."""
    digest = hashlib.blake2b(digest_size=16)
    tools = " ".join(f"{name} {version(name)}" for name in ("k2", "kaldilm", "kaldingram"))
    for part in (tools, lm_digest, repr(lang.token_table), repr(lang.word_table), repr(lang.lexicon)):
        digest.update(part.encode("utf-8"))
    return digest.hexdigest()


def prepare_graph(lang: Lang, folder: Path, source: LmSource) -> Path:
    """Makes ARPA, G and HLG in the lang folder, or finds them there with the right key. Returns the path of HLG."""
    path = artifacts.decoding_graph(folder, source.order)
    return _prepared(path, "HLG", lang, source, lambda: compose_graph(lang, source.grammar(lang, folder)))


def prepare_rescoring(lang: Lang, folder: Path, source: LmSource) -> Path:
    """Makes G of the larger LM, or finds it in the lang folder with the right key. Returns its path."""
    path = artifacts.rescoring_grammar(folder, source.order)
    return _prepared(path, "G for rescoring", lang, source, lambda: source.grammar(lang, folder))


def _prepared(path: Path, name: str, lang: Lang, source: LmSource, make: Callable[[], k2.Fsa]) -> Path:
    log = get_logger("asr.graphs")
    key = graph_key(lang, source.digest())
    if _key_of(path) == key:
        log.info("%s is up to date", path)
        return path
    graph = make()
    save_graph(graph, path, key)
    log.info("%s: %d states, %d arcs (%s)", name, graph.shape[0], graph.num_arcs, path)
    return path


def _key_of(path: Path) -> str | None:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata()["key"]
    except (OSError, SafetensorError, KeyError, TypeError):
        return None
