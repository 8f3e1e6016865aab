"""From lexicon and LM to the decoding graph: G, L, L o G, H o L o G, by the conventions of k2 and icefall.

The LM is an ARPA file: trained by kaldingram (Kneser-Ney), or given, such as LibriSpeech's 3-gram.pruned.1e-7.arpa.gz. Graphs are
stored as plain tensors: reading them runs no code.
"""

import contextlib
import gzip
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import k2
import kaldilm
import torch
from safetensors.torch import load_file, save_file

from spin import artifacts, products
from spin.asr.decoders import DECODERS
from spin.asr.lang import BACK_OFF, UNKNOWN_WORD, WORDS_FILE, Lang, extend_lang, load_lang, save_lang
from spin.config import DecodingConfig
from spin.corpus.ngrams import write_arpa
from spin.errors import DataError
from spin.runtime.files import atomic_path
from spin.runtime.product import Context, Product

GRAPH, ARPA = "graph.safetensors", "lm.arpa"
HLG, G = "HLG", "G"
NOT_WORDS = ("<s>", "</s>", "<unk>", "<UNK>")


def train_arpa(sentences: Iterable[str], order: int, known: Iterable[str], path: Path) -> int:
    """Writes a Kneser-Ney model as write_arpa does, and returns the number of sentences; raises DataError without any.

    A word that is not `known` (to the lexicon) counts as <UNK>, which no path of the decoding graph contains.
    """
    known = set(known)
    words = (" ".join(word if word in known else UNKNOWN_WORD for word in sentence.split()) for sentence in sentences)
    number = write_arpa(words, order, path)
    if number == 0:
        remedy = "--set corpus.lm_text=FILE with --stage 0"
        raise DataError("LM text", found="no sentence", expected="one sentence per line", remedy=remedy)
    return number


def make_grammar(arpa: Path, words: Path) -> k2.Fsa:
    """G, an acceptor-like transducer over word ids whose back-off arcs carry #0 on the input side, by kaldilm.

    `arpa` is an ARPA file, plain or .gz (another one raises DataError), and `words` the words.txt of the lang folder.
    """
    with _plain(arpa) as plain:
        try:
            text = kaldilm.arpa2fst(
                input_arpa=str(plain), disambig_symbol=BACK_OFF, read_symbol_table=str(words), max_arpa_warnings=0
            )
        except RuntimeError as error:
            raise _not_arpa(arpa, " ".join(str(error).split())) from error
    return k2.Fsa.from_openfst(text, acceptor=False)


def arpa_words(path: Path) -> Iterator[str]:
    """The words of the unigrams in the order of the file, without <s>, </s> and the unknown word.

    Raises DataError where there is no count of n-grams or no section of unigrams; kaldilm would end the process.
    """
    counted = inside = False
    with _open(path) as stream:
        for line in stream:
            fields = line.decode("utf-8").split() or [""]
            counted = counted or fields[0] == "ngram"
            if fields[0].startswith("\\"):
                if inside:
                    return
                inside = counted and fields[0] == "\\1-grams:"
            elif inside and len(fields) >= 2 and fields[1] not in NOT_WORDS:
                yield fields[1]
    if not inside:
        raise _not_arpa(path, "no section \\1-grams:" if counted else "no line 'ngram n=count'")


@contextlib.contextmanager
def _plain(path: Path) -> Iterator[Path]:
    """The file itself, or a temporary copy that is not compressed."""
    if path.suffix != ".gz":
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="spin-arpa-") as plain:
        with _open(path) as stream:
            shutil.copyfileobj(stream, plain)
        plain.flush()
        yield Path(plain.name)


@contextlib.contextmanager
def _open(path: Path):
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as stream:
            yield stream
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise _not_arpa(path, str(error)) from error


def _not_arpa(path: Path, found: str) -> DataError:
    remedy = "--set decoding.arpa=FILE, or train both: --set decoding.arpa=null --set decoding.rescore_arpa=null"
    return DataError(str(path), found=found, expected="an ARPA file, plain or .gz", remedy=remedy)


def lexicon_fst(lang: Lang) -> k2.Fsa:
    """L, from tokens to words: one loop state, and a path from and to it for each pronunciation.

    #1 and up follow ambiguous pronunciations, and a self-loop lets #0 through for composition with G.
    """
    word_ids = {word: number for number, word in enumerate(lang.word_table)}
    arcs, state = [(0, 0, lang.vocabulary_size, word_ids[BACK_OFF])], 1
    for word, tokens in lang.disambiguated[0]:
        states = [0, *range(state, state + len(tokens) - 1), 0]
        state += len(tokens) - 1
        for position, token in enumerate(tokens):
            arcs.append((states[position], states[position + 1], token, word_ids[word] if position == 0 else 0))
    final = state
    arcs.append((0, final, -1, -1))
    lines = [f"{start} {stop} {label} {word} 0" for start, stop, label, word in sorted(arcs)]
    return k2.Fsa.from_str("\n".join([*lines, str(final)]), acceptor=False)


def compose_graph(lang: Lang, grammar: k2.Fsa) -> k2.Fsa:
    """H o L o G: an arc-sorted graph from CTC labels (0 is blank) to words, ready for pruned intersection.

    Its `aux_labels` are ragged (word ids of each arc), and its scores are those of the LM. Raises DataError where lexicon and LM
    share no word.
    """
    first, last = 2, len(lang.words) + 1  # ids of the words, between <UNK> and #0
    if not ((grammar.labels >= first) & (grammar.labels <= last)).any():
        found, expected = "no word of the lexicon in the LM", "words that both share"
        cause, remedy = "LM text of another language or in lower case", "--set corpus.lm_text=FILE, or --set decoding.arpa=FILE"
        raise DataError("decoding graph", found=found, expected=expected, cause=cause, remedy=remedy)
    lexicon = k2.arc_sort(lexicon_fst(lang))
    graph = k2.connect(k2.compose(lexicon, k2.arc_sort(grammar)))
    graph = k2.connect(k2.determinize(graph))
    graph = _remove_disambiguation(graph, lang)
    graph = k2.connect(k2.remove_epsilon(graph))
    graph.aux_labels = _to_ragged(graph.aux_labels).remove_values_eq(0)
    graph = k2.arc_sort(graph)
    topology = k2.ctc_topo(lang.vocabulary_size - 1)
    return k2.arc_sort(k2.connect(k2.compose(topology, graph, inner_labels="tokens")))


def _remove_disambiguation(graph: k2.Fsa, lang: Lang) -> k2.Fsa:
    # Labels are replaced by a changed copy: k2 1.23.4 does not pass a change in place on to the underlying arcs and properties.
    labels = graph.labels.clone()
    labels[labels >= lang.vocabulary_size] = 0
    graph.labels = labels
    words = _to_ragged(graph.aux_labels)
    values = words.values.clone()
    values[values >= lang.back_off] = 0
    graph.aux_labels = k2.RaggedTensor(words.shape, values)
    return graph


def _to_ragged(labels: torch.Tensor | k2.RaggedTensor) -> k2.RaggedTensor:
    """One list per arc, whether an operation of k2 returned a tensor or lists."""
    if isinstance(labels, k2.RaggedTensor):
        return labels
    splits = torch.arange(labels.numel() + 1, dtype=torch.int32)
    return k2.RaggedTensor(k2.ragged.create_ragged_shape2(splits, cached_tot_size=labels.numel()), labels)


def save_graph(graph: k2.Fsa, path: Path) -> None:
    """Writes arcs and word ids as a safetensors file."""
    words = _to_ragged(graph.aux_labels)
    tensors = {"arcs": graph.arcs.values(), "word_splits": words.shape.row_splits(1), "words": words.values}
    with atomic_path(path) as temporary:
        save_file({name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}, temporary)


def load_graph(path: Path, device: torch.device | str = "cpu") -> k2.Fsa:
    """An arc-sorted graph with `lm_scores`, the scores of its arcs before any scaling."""
    tensors = load_file(path)
    graph = k2.Fsa(tensors["arcs"])
    shape = k2.ragged.create_ragged_shape2(tensors["word_splits"], cached_tot_size=tensors["words"].numel())
    graph.aux_labels = k2.RaggedTensor(shape, tensors["words"])
    graph = k2.arc_sort(graph).to(device)
    graph.lm_scores = graph.scores.clone()
    return graph


def graph_kinds(config: DecodingConfig) -> list[str]:
    """The kinds of graph that the methods search, in the order in which they are built."""
    return [kind for kind in (HLG, G) if any(kind in DECODERS[method].graphs for method in config.methods)]


def build_graphs(context: Context) -> None:
    """Builds what the methods search; raises DataError as prepare_graph does."""
    for kind in graph_kinds(context.config.decoding):
        prepare_graph(context, kind)


def prepare_graph(context: Context, kind: str) -> Product:
    """Builds the graph of a kind unless it is up to date. With HLG go the lang files of the search, with a given LM's words.

    Raises DataError without LM text, for an ARPA file that cannot be read, and for an LM without a word of the lexicon.
    """
    product = products.graph(context, kind)
    if product.needs_build():
        with product.building() as folder:
            graph = _make_hlg(context, folder) if kind == HLG else _make_g(context, folder)
            save_graph(graph, folder / GRAPH)
            context.log.info("%s: %d states, %d arcs", product.name, graph.shape[0], graph.num_arcs)
    return product


def _make_hlg(context: Context, folder: Path) -> k2.Fsa:
    config, lang = context.config.decoding, load_lang(artifacts.lang_folder(context.exp))
    if config.arpa:
        lang = extend_lang(lang, arpa_words(Path(config.arpa)))
    save_lang(lang, folder)
    arpa = Path(config.arpa) if config.arpa else _train_lm(context, lang, config.lm_order, folder)
    return compose_graph(lang, make_grammar(arpa, folder / WORDS_FILE))


def _make_g(context: Context, folder: Path) -> k2.Fsa:
    config, search = context.config.decoding, products.graph(context, HLG).path
    lang = load_lang(search)
    arpa = Path(config.rescore_arpa) if config.rescore_arpa else _train_lm(context, lang, config.rescore_order, folder)
    known = set(arpa_words(arpa)) if config.rescore_arpa else set(lang.words)
    lost = [word for word in lang.words if word not in known]
    if lost:
        message = "%d of the %d words of the graph are not in %s, so rescoring loses them: %s"
        context.log.warning(message, len(lost), len(lang.words), arpa, ", ".join(lost[:5]))
    return make_grammar(arpa, search / WORDS_FILE)


def _train_lm(context: Context, lang: Lang, order: int, folder: Path) -> Path:
    """Trains an LM on the LM text, and keeps it in the folder."""
    sentences = artifacts.lm_text(context.corpus).read_text(encoding="utf-8").splitlines()
    number = train_arpa(sentences, order, lang.words, folder / ARPA)
    context.log.info("%d-gram LM from %d sentences", order, number)
    return folder / ARPA
