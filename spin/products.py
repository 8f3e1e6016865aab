"""The products of the recipe: where each lies, which products it reads and which configuration keys decide its content.

One rule holds for all of them (spin/runtime/product.py). spin/product_keys.py says which configuration keys decide a product.
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


def _manifests(context: Context, *roles: Sequence[str]) -> list[Product]:
    """Manifests of the parts of some roles, each once."""
    return [manifest(context, part) for part in dict.fromkeys(part for role in roles for part in role)]


# Stage 0
def manifest(context: Context, part: str) -> Product:
    """Cuts of a part: recordings, transcripts, alignments. Noisy copies read the clean part's."""
    config = context.config
    inputs = []
    if part in (noisy := noisy_parts(config)):
        clean, kind, snr = noisy[part]
        sources = config.noise.impulse_responses if kind == "reverb" else config.noise.manifests
        files = {source: [source_digest(source)] for source in sources}
        key = {"config": {"kind": kind, "snr_in_db": snr, "seed": config.seed}, "files": files}
        inputs = [manifest(context, clean), *(_manifests(context, config.corpus.spin_train) if kind == "babble" else [])]
    else:
        from spin.corpus.registry import fingerprint_part

        key = make_key(config, "manifest", fingerprint_part(config, context.corpus, part))
    path = artifacts.cuts(context.corpus, part)
    return Product(context, f"manifest of {part}", path, stage=0, own_key=key, inputs=inputs)


def lexicon(context: Context) -> Product:
    """Pronunciations of the words of all clean parts."""
    corpus = context.config.corpus
    inputs = [lm_text(context), *_manifests(context, corpus.asr_train, corpus.valid, corpus.test)]
    path, key = artifacts.lexicon(context.corpus), make_key(context.config, "lexicon")
    return Product(context, "lexicon", path, stage=0, own_key=key, inputs=inputs)


def lm_text(context: Context) -> Product:
    """Sentences for the n-gram LM, none of them a transcript of valid or test."""
    corpus = context.config.corpus
    inputs = _manifests(context, () if corpus.lm_text else corpus.asr_train, corpus.valid, corpus.test)
    path, key = artifacts.lm_text(context.corpus), make_key(context.config, "lm_text")
    return Product(context, "LM text", path, stage=0, own_key=key, inputs=inputs)


# Stage 1
def speaker_pitch(context: Context) -> Product:
    """Pitch range of each speaker of spin_train."""
    inputs = _manifests(context, context.config.corpus.spin_train)
    path, key = artifacts.speaker_pitch(context.corpus), make_key(context.config, "speaker_pitch")
    return Product(context, "pitch ranges", path, stage=1, own_key=key, inputs=inputs)


def pitch(context: Context, part: str) -> Product:
    """Pitch contours and pulses of a part."""
    inputs = [speaker_pitch(context), manifest(context, part)]
    path, key = artifacts.pitch_folder(context.corpus, part), make_key(context.config, "pitch")
    return Product(context, f"pitch of {part}", path, stage=1, own_key=key, inputs=inputs)


# Stage 2
def spin(context: Context) -> Product:
    """The trained model."""
    corpus = context.config.corpus
    inputs = [*(pitch(context, part) for part in corpus.spin_train), *_manifests(context, corpus.valid)]
    path, key = artifacts.spin_folder(context.exp), make_key(context.config, "spin")
    return Product(context, "Spin model", path, stage=2, own_key=key, inputs=inputs, content=("model.safetensors",))


# Stage 3
def features(context: Context, system: System, part: str) -> Product:
    """Features of a part by one system, and units where the system has a codebook."""
    inputs = [manifest(context, part), *([spin(context)] if uses_stage_2(system, context.exp) else [])]
    path, key = artifacts.features_folder(context.exp, system.name, part), _system_key(context, "features", system)
    return Product(context, f"features of {system.name}, {part}", path, stage=3, own_key=key, inputs=inputs)


def kmeans(context: Context, system: System) -> Product:
    """Cluster centres of a system without a codebook."""
    inputs = [features(context, system, part) for part in context.config.corpus.spin_train]
    path, key = artifacts.kmeans(context.exp, system.name), _system_key(context, "kmeans", system)
    return Product(context, f"k-means of {system.name}", path, stage=3, own_key=key, inputs=inputs)


def units(context: Context, system: System, part: str) -> Product:
    """Units of a part by one system."""
    inputs = [features(context, system, part), *([] if system.has_codebook else [kmeans(context, system)])]
    path, key = artifacts.units_folder(context.exp, system.name, part), _system_key(context, "units", system)
    return Product(context, f"units of {system.name}, {part}", path, stage=3, own_key=key, inputs=inputs)


def metrics(context: Context, system: System) -> Product:
    """Metrics of a system's units and features on the test parts."""
    from spin.units.metrics import METRICS

    parts = test_parts(context.config)
    inputs = [product(context, system, part) for part in parts for product in (features, units)]
    values = {"parts": parts, "metrics": {metric.name: metric.computer for metric in METRICS}}
    path, key = artifacts.metrics_folder(context.exp, system.name), make_key(context.config, "metrics", values)
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
    inputs = [lm_text(context), *_manifests(context, context.config.corpus.asr_train)]
    if asr.tokens == "phone" and asr.lexicon is None:  # it depends on the words of test parts; other tokens must not
        inputs.append(lexicon(context))
    path, key = artifacts.lang_folder(context.exp), make_key(context.config, "lang")
    return Product(context, "lang", path, stage=4, own_key=key, inputs=inputs)


def recogniser_input(context: Context, system: System, input_kind: str, part: str) -> Product:
    """What a recogniser reads of a part: features or units."""
    return (features if input_kind == "features" else units)(context, system, part)


def recogniser(context: Context, system: System, input_kind: str, seed: int) -> Product:
    """A trained recogniser; what other products read of it is the best checkpoint."""
    corpus, asr = context.config.corpus, context.config.asr
    parts = dict.fromkeys((*corpus.asr_train, *corpus.valid))
    tokens = lang(context).only(artifacts.training_tokens_in(Path()).name, "bpe.model")
    inputs = [tokens, *(recogniser_input(context, system, input_kind, part) for part in parts)]
    values = {"asr.seed": seed, "asr.input": input_kind}
    if input_kind == "units":
        values["asr.unit_input"] = asr.unit_input
        if asr.unit_input == "pieces":
            values["asr.unit_pieces"] = asr.unit_pieces
    path = artifacts.recogniser_folder(context.exp, system.name, input_kind, seed)
    key, name = make_key(context.config, "recogniser", values), f"recogniser of {system.name}, {input_kind}, seed {seed}"
    return Product(context, name, path, stage=4, own_key=key, inputs=inputs, content=("best.safetensors",))


def graph(context: Context, kind: str) -> Product:
    """n-gram LM with its decoding graph (HLG), or the larger LM of rescoring (G)."""
    config = context.config.decoding
    order, name, given = config.lm_order, "arpa", config.arpa
    if kind != "HLG":
        order, name, given = config.rescore_order, "rescore_arpa", config.rescore_arpa
    key = {"config": {"order": order, "kind": kind}, "files": {f"decoding.{name}": [source_digest(given)]} if given else {}}
    inputs = [lang(context).only("tokens.txt", "words.txt", "lexicon*.txt"), lm_text(context)]
    if kind != "HLG":  # rescoring uses the word table of the search, which a given ARPA file may have extended
        inputs.append(graph(context, "HLG"))
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
    """One decoding. `values`: what the method reads of the configuration, with the LM scales; `graphs`: products it searches."""
    inputs = [recogniser(context, system, input_kind, seed), recogniser_input(context, system, input_kind, part), *graphs]
    path = artifacts.decoding_folder(context.exp, system.name, input_kind, seed, part, method)
    name = f"decoding of {part} by {method}: {system.name}, {input_kind}, seed {seed}"
    return Product(context, name, path, stage=5, own_key={"config": {"method": method, **values}, "files": {}}, inputs=inputs)


def scores(context: Context, decodings: Sequence[Product]) -> Product:
    """Error rates of all decodings, with intervals and paired tests."""
    path, key = artifacts.scores(context.exp), make_key(context.config, "scores")
    return Product(context, "scores", path, stage=5, own_key=key, inputs=decodings)


def report(context: Context, inputs: Sequence[Product], kind: str) -> Product:
    """report.json, or report.html where no recogniser is trained; the other pages are written before it."""
    path, key = artifacts.report(context.exp, kind), make_key(context.config, "report")
    return Product(context, "report", path, stage=5, own_key=key, inputs=inputs)


def _system_key(context: Context, kind: str, system: System) -> dict:
    """The key of a product of stage 3. An external system is keyed by its source and layer, not by the encoder section."""
    key = make_key(context.config, kind)
    own = ("encoder.source", "encoder.layer", "units.layer")
    config = {name: value for name, value in key["config"].items() if name not in own} | {"layer": system.layer}
    external = {} if system.source is None or uses_stage_2(system, context.exp) else {"source": [source_digest(system.source)]}
    return {"config": config, "files": external}
