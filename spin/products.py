"""The products of the recipe: where each lies, which products it reads and which configuration keys decide its content.

One rule holds for all of them (spin/runtime/product.py). Same key: skip. No product: build. Different key: build the new one next
to the old one, then replace it. spin/product_keys.py says which configuration keys decide a product.
"""

from collections.abc import Sequence
from pathlib import Path

from spin import artifacts
from spin.config import Config
from spin.product_keys import make_key
from spin.runtime.files import source_digest
from spin.runtime.product import Context, Product
from spin.systems import System, systems_of, uses_stage_2


def noisy_parts(config: Config) -> dict[str, tuple[str, str, float | None]]:
    """Name of each noisy copy, <clean part>+<kind>_<SNR>dB -> (clean part, kind of noise, SNR in dB; None for reverberation)."""
    levels = {kind: (None,) if kind == "reverb" else config.noise.test_snrs_in_db for kind in config.noise.test_kinds}
    return {
        f"{part}+{kind}" + ("" if snr is None else f"_{snr:g}dB"): (part, kind, snr)
        for part in config.corpus.test
        for kind, snrs in levels.items()
        for snr in snrs
    }


def test_parts(config: Config) -> list[str]:
    """The test parts, the noisy copies after the clean ones."""
    return [*config.corpus.test, *noisy_parts(config)]


def all_parts(config: Config) -> list[str]:
    """Every part, each once."""
    corpus = config.corpus
    return list(dict.fromkeys((*corpus.spin_train, *corpus.asr_train, *corpus.valid, *test_parts(config))))


# Stage 0
def manifest(context: Context, part: str) -> Product:
    """Cuts of a part: recordings, transcripts, alignments. Noisy copies read the clean part's."""
    config = context.config
    noisy = noisy_parts(config).get(part)
    name, path = f"manifest of {part}", artifacts.cuts(context.corpus, part)
    if noisy is not None:
        clean, kind, snr = noisy
        noise = {"kind": kind, "snr_in_db": snr, "seed": config.seed}
        sources = [*config.noise.impulse_responses] if kind == "reverb" else [*config.noise.manifests]
        key = {"config": noise, "files": {source: [source_digest(source)] for source in sources}}
        others = [manifest(context, other) for other in config.corpus.spin_train] if kind == "babble" else []
        return Product(context, name, path, stage=0, own_key=key, inputs=[manifest(context, clean), *others])
    from spin.corpus.registry import fingerprint_part

    key = make_key(config, "manifest", fingerprint_part(config, context.corpus, part))
    return Product(context, name, path, stage=0, own_key=key)


def lexicon(context: Context) -> Product:
    """Pronunciations of the words of all clean parts."""
    config = context.config
    parts = dict.fromkeys((*config.corpus.asr_train, *config.corpus.valid, *config.corpus.test))
    inputs = [lm_text(context), *(manifest(context, part) for part in parts)]
    return Product(
        context, "lexicon", artifacts.lexicon(context.corpus), stage=0, own_key=make_key(config, "lexicon"), inputs=inputs
    )


def lm_text(context: Context) -> Product:
    """Sentences for the n-gram LM, none of them a transcript of valid or test."""
    config = context.config
    own = () if config.corpus.lm_text else config.corpus.asr_train
    inputs = [manifest(context, part) for part in dict.fromkeys((*own, *config.corpus.valid, *config.corpus.test))]
    return Product(
        context, "LM text", artifacts.lm_text(context.corpus), stage=0, own_key=make_key(config, "lm_text"), inputs=inputs
    )


# Stage 1
def speaker_pitch(context: Context) -> Product:
    """Pitch range of each speaker of spin_train."""
    inputs = [manifest(context, part) for part in context.config.corpus.spin_train]
    key, path = make_key(context.config, "speaker_pitch"), artifacts.speaker_pitch(context.corpus)
    return Product(context, "pitch ranges", path, stage=1, own_key=key, inputs=inputs)


def pitch(context: Context, part: str) -> Product:
    """Pitch contours and pulses of a part."""
    path, key = artifacts.pitch_folder(context.corpus, part), make_key(context.config, "pitch")
    return Product(
        context, f"pitch of {part}", path, stage=1, own_key=key, inputs=[speaker_pitch(context), manifest(context, part)]
    )


# Stage 2
def spin(context: Context) -> Product:
    """The trained model."""
    corpus = context.config.corpus
    inputs = [*(pitch(context, part) for part in corpus.spin_train), *(manifest(context, part) for part in corpus.valid)]
    path, key = artifacts.spin_folder(context.exp), make_key(context.config, "spin")
    return Product(context, "Spin model", path, stage=2, own_key=key, inputs=inputs, content=("model.safetensors",))


# Stage 3
def features(context: Context, system: System, part: str) -> Product:
    """Features of a part by one system, and units where the system has a codebook."""
    inputs = [manifest(context, part), *([spin(context)] if uses_stage_2(system, context.exp) else [])]
    key = _system_key(context, "features", system)
    path = artifacts.features_folder(context.exp, system.name, part)
    return Product(context, f"features of {system.name}, {part}", path, stage=3, own_key=key, inputs=inputs)


def kmeans(context: Context, system: System) -> Product:
    """Cluster centres of a system without a codebook."""
    inputs = [features(context, system, part) for part in context.config.corpus.spin_train]
    key, path = _system_key(context, "kmeans", system), artifacts.kmeans(context.exp, system.name)
    return Product(context, f"k-means of {system.name}", path, stage=3, own_key=key, inputs=inputs)


def units(context: Context, system: System, part: str) -> Product:
    """Units of a part by one system."""
    inputs = [features(context, system, part), *([] if system.has_codebook else [kmeans(context, system)])]
    key, path = _system_key(context, "units", system), artifacts.units_folder(context.exp, system.name, part)
    return Product(context, f"units of {system.name}, {part}", path, stage=3, own_key=key, inputs=inputs)


def metrics(context: Context, system: System) -> Product:
    """Metrics of a system's units and features on the test parts."""
    from spin.units.metrics import METRICS

    parts = test_parts(context.config)
    inputs = [product(context, system, part) for part in parts for product in (features, units)]
    values = {"parts": parts, "metrics": {metric.name: metric.computer for metric in METRICS}}
    key, path = make_key(context.config, "metrics", values), artifacts.metrics_folder(context.exp, system.name)
    return Product(context, f"metrics of {system.name}", path, stage=3, own_key=key, inputs=inputs)


def unit_pictures(context: Context) -> Product:
    """Stage 3 in TensorBoard: all metrics, unit maps, and a few utterances."""
    inputs = [metrics(context, system) for system in systems_of(context.config, context.exp)]
    path, key = artifacts.tensorboard(context.exp, 3), make_key(context.config, "unit_pictures")
    return Product(context, "TensorBoard of stage 3", path, stage=3, own_key=key, inputs=inputs)


# Stages 4 and 5
def lang(context: Context) -> Product:
    """Tokens, words, lexicon and the lexicon's transducers."""
    asr = context.config.asr
    inputs = [lm_text(context), *(manifest(context, part) for part in context.config.corpus.asr_train)]
    if asr.tokens == "phone" and asr.lexicon is None:  # it depends on the words of test parts; other tokens must not
        inputs.append(lexicon(context))
    return Product(
        context, "lang", artifacts.lang_folder(context.exp), stage=4, own_key=make_key(context.config, "lang"), inputs=inputs
    )


def recogniser_input(context: Context, system: System, input_kind: str, part: str) -> Product:
    """What a recogniser reads of a part: features or units."""
    return (features if input_kind == "features" else units)(context, system, part)


def recogniser(context: Context, system: System, input_kind: str, seed: int) -> Product:
    """A trained recogniser; what other products read of it is the best checkpoint."""
    corpus = context.config.corpus
    parts = dict.fromkeys((*corpus.asr_train, *corpus.valid))
    tokens = lang(context).only(artifacts.training_tokens_in(Path()).name, "bpe.model")
    inputs = [tokens, *(recogniser_input(context, system, input_kind, part) for part in parts)]
    key = make_key(
        context.config, "recogniser", {"asr.seed": seed, "asr.input": input_kind, **_input_values(context, input_kind)}
    )
    path = artifacts.recogniser_folder(context.exp, system.name, input_kind, seed)
    name = f"recogniser of {system.name}, {input_kind}, seed {seed}"
    return Product(context, name, path, stage=4, own_key=key, inputs=inputs, content=("best.safetensors",))


def graph(context: Context, order: int, kind: str = "HLG") -> Product:
    """n-gram LM with its decoding graph (HLG), or the larger LM of rescoring (G)."""
    name = "arpa" if kind == "HLG" else "rescore_arpa"
    given = getattr(context.config.decoding, name)
    key = {"config": {"order": order, "kind": kind}, "files": {f"decoding.{name}": [source_digest(given)]} if given else {}}
    inputs = [lang(context).only("tokens.txt", "words.txt", "lexicon*.txt"), lm_text(context)]
    if kind != "HLG":  # rescoring uses the word table of the search, which a given ARPA file may have extended
        inputs.append(graph(context, context.config.decoding.lm_order))
    path = artifacts.graph_folder(context.exp, kind, order)
    return Product(context, f"{kind} of the {order}-gram LM", path, stage=5, own_key=key, inputs=inputs)


def tuning(context: Context, system: System, input_kind: str, seed: int, method: str, values: dict, graphs: Sequence) -> Product:
    """Word error rates on the valid parts by LM scale; `values` and `graphs` as in decoding()."""
    valid = [recogniser_input(context, system, input_kind, part) for part in context.config.corpus.valid]
    inputs = [recogniser(context, system, input_kind, seed), *valid, *graphs]
    path = artifacts.tuning(context.exp, system.name, input_kind, seed, method)
    name = f"LM scales of {method}: {system.name}, {input_kind}, seed {seed}"
    return Product(context, name, path, stage=5, own_key={"config": {"method": method, **values}, "files": {}}, inputs=inputs)


def decoding(
    context: Context, system: System, input_kind: str, seed: int, part: str, method: str, values: dict, graphs: Sequence = ()
) -> Product:
    """One decoding.

    Args:
        values: what the method reads of the configuration, with the LM scale or scales.
        graphs: the products that the method searches.
    """
    inputs = [recogniser(context, system, input_kind, seed), recogniser_input(context, system, input_kind, part), *graphs]
    path = artifacts.decoding_folder(context.exp, system.name, input_kind, seed, part, method)
    name = f"decoding of {part} by {method}: {system.name}, {input_kind}, seed {seed}"
    return Product(context, name, path, stage=5, own_key={"config": {"method": method, **values}, "files": {}}, inputs=inputs)


def scores(context: Context, decodings: Sequence[Product]) -> Product:
    """Error rates of all decodings, with intervals and paired tests."""
    return Product(
        context, "scores", artifacts.scores(context.exp), stage=5, own_key=make_key(context.config, "scores"), inputs=decodings
    )


def report(context: Context, inputs: Sequence[Product], kind: str) -> Product:
    """report.json, or report.html where no recogniser is trained; the other pages are written before it."""
    path = artifacts.report(context.exp, kind)
    return Product(context, "report", path, stage=5, own_key=make_key(context.config, "report"), inputs=inputs)


def _system_key(context: Context, kind: str, system: System) -> dict:
    """The key of a product of stage 3. An external system is keyed by its source and layer, not by the encoder section."""
    key = make_key(context.config, kind)
    own = ("encoder.source", "encoder.layer", "units.layer")
    config = {name: value for name, value in key["config"].items() if name not in own} | {"layer": system.layer}
    external = {} if system.source is None or uses_stage_2(system, context.exp) else {"source": [source_digest(system.source)]}
    return {"config": config, "files": external}


def _input_values(context: Context, input_kind: str) -> dict:
    """What only recognisers on units read."""
    asr = context.config.asr
    if input_kind != "units":
        return {}
    return {"asr.unit_input": asr.unit_input} | ({"asr.unit_pieces": asr.unit_pieces} if asr.unit_input == "pieces" else {})
