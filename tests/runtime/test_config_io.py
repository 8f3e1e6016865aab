"""Configuration: YAML and overrides into dataclasses, errors that name the key and its origin."""

from __future__ import annotations

import dataclasses
import tempfile
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin import config as config_module
from spin.config import Config
from spin.errors import ConfigError
from spin.product_keys import FILE_KEYS, READ_BY, flatten, readers
from spin.runtime.config_io import dump_config, load_config

CONFS = sorted((Path(__file__).parents[2] / "egs" / "librispeech" / "conf").glob("*.yaml"))
PATH_KEYS = ("corpus.corpus_dir", "corpus.data_dir", "corpus.lm_text", "encoder.source", "asr.lexicon")


def write(folder: Path, text: str) -> Path:
    path = folder / "conf.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", CONFS, ids=lambda path: path.stem)
def test_shipped_configurations_survive_a_round_trip(path, tmp_path):
    config = load_config(path)
    assert load_config(write(tmp_path, dump_config(config))) == config


def test_overrides_apply_in_order(tmp_path):
    path = write(tmp_path, "spin: {max_steps: 10, learning_rate: 1e-3}\n")
    config = load_config(path, ["spin.max_steps=20", "spin.max_steps=30", "corpus.test=[a, b]", "corpus.corpus_dir='a: b'"])
    assert config.spin.max_steps == 30
    assert config.spin.learning_rate == 1e-3  # YAML 1.1 reads 1e-3 as a word
    assert config.corpus.test == ("a", "b")
    assert config.corpus.corpus_dir == "a: b"


def test_roles_may_share_parts_and_be_empty():
    corpus = load_config(None, ["corpus.spin_train=[a, b]", "corpus.asr_train=[b, a]", "corpus.test=[]"]).corpus
    assert (corpus.spin_train, corpus.asr_train, corpus.test) == (("a", "b"), ("b", "a"), ())


def test_an_empty_section_keeps_its_defaults(tmp_path):
    assert load_config(write(tmp_path, "spin:\n")) == Config()


def test_systems_are_names_or_sources():
    (baseline, other) = load_config(None, ["systems=[baseline, {name: mine, source: a.ckpt, layer: 7}]"]).systems
    assert baseline == "baseline" and (other.name, other.source, other.layer) == ("mine", "a.ckpt", 7)


@pytest.mark.parametrize("key", PATH_KEYS)
def test_a_tilde_in_a_path_is_the_home_folder(tmp_path, monkeypatch, key):
    monkeypatch.setenv("HOME", str(tmp_path))
    section, name = key.split(".")
    for value, meaning in (("~/a b", f"{tmp_path}/a b"), ("~", str(tmp_path)), ("a/~", "a/~"), ("~no-one/a", "~no-one/a")):
        config = load_config(None, [f"{key}='{value}'"])
        assert getattr(getattr(config, section), name) == meaning
        assert load_config(write(tmp_path, dump_config(config))) == config
    assert load_config(None, ["name='~'"]).name == "~"  # not a path


def test_the_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("spin: {max_step: 1}", "spin.max_step"),
        ("spin: {max_steps: ten}", "spin.max_steps"),
        ("spin: {max_steps: 1.5}", "spin.max_steps"),
        ("spin: {max_steps: true}", "spin.max_steps"),
        ("spin: {max_steps: -1}", "spin.max_steps"),
        ("spin: {max_steps: 99999999999999}", "spin.max_steps"),
        ("spin: {temperature: .nan}", "spin.temperature"),
        ("spin: {temperature: .inf}", "spin.temperature"),
        ("spin: {temperature: true}", "spin.temperature"),
        ("spin: {valid_utterances: 0}", "spin.valid_utterances"),
        ("spin: {learning_rate: 1e-7}", "min_learning_rate"),
        ("spin: {compile: 1}", "spin.compile"),
        ("spin: 3", "spin"),
        ("corpus: {test: a}", "corpus.test"),
        *((f"corpus: {{{role}: [a, b, a]}}", f"corpus.{role}") for role in ("spin_train", "asr_train", "valid", "test")),
        ("pretrain: {parts: [a, a]}", "pretrain.parts"),
        ("pretrain: {clusters: [100], steps: [10, 20]}", "clusters and steps"),
        ("decoding: {bootstrap_samples: 0}", "decoding.bootstrap_samples"),
        ("decoding: {methods: [hlg, hlg_lattice], rescore_arpa: b.arpa}", "arpa is not set"),
        ("decoding: {lm_order: 4, rescore_order: 3}", "lm_order and rescore_order"),
        ("corpus: {min_duration_in_s: 5, max_duration_in_s: 1}", "min_duration_in_s"),
        ("corpus: {parts: {a: {speakers: 1}}}", "corpus.parts.a"),
        ("asr: {weighted_sum: true}", "features=on_the_fly"),
        ("systems: [baseline, baseline]", "systems"),
        ("systems: [baseline, hubert]", "has no source"),
        ("systems: [{name: a, sorce: b}]", "sorce"),
        ("seed: 1\nseed: 2", "seed"),
        ("- 1", "list"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("name: !!python/object/apply:os.system ['true']", "conf.yaml"),
        ("name: ../up", "name"),
        ("spin: {", "conf.yaml"),
    ],
)
def test_bad_configuration_names_the_key(tmp_path, text, named):
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")):
        load_config(write(tmp_path, text))


def test_errors_name_file_and_override(tmp_path):
    path = write(tmp_path, "spin: {max_step: 1}")
    with pytest.raises(ConfigError, match=r"conf\.yaml[\s\S]*did you mean 'max_steps'"):
        load_config(path)
    with pytest.raises(ConfigError, match="--set spin.max_steps=x"):
        load_config(None, ["spin.max_steps=x"])


@pytest.mark.parametrize("override", ["spin", "=1", "spin.=1", "name.x=1", "spin.max_steps=[1"])
def test_bad_overrides_fail(override, tmp_path):
    with pytest.raises(ConfigError):
        load_config(write(tmp_path, "name: x"), [override])


def test_missing_binary_and_huge_files_fail(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError):
        load_config(tmp_path / "binary.yaml")
    with pytest.raises(ConfigError, match="bytes"):
        load_config(write(tmp_path, "#" * 1_000_001))


def metadata(hint) -> list:
    """Everything that an annotation carries, nested annotations included."""
    found = [*getattr(hint, "__metadata__", ())]
    for argument in typing.get_args(hint):
        found += metadata(argument)
    return found


def sections() -> list[type]:
    kinds = [kind for kind in vars(config_module).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)]
    return [kind for kind in kinds if kind.__module__ == config_module.__name__]


def test_every_number_has_a_range():
    for kind in sections():
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            kinds = {hint} | set(typing.get_args(hint))
            if {config_module.Integer, config_module.Number, int, float} & kinds:
                assert any(getattr(item, "ge", None) is not None or "Ge(" in repr(item) for item in metadata(hint)), (
                    f"{kind}.{name}"
                )


def test_every_key_says_which_products_read_it():
    """A new key counts for every product until it is listed in READ_BY; this test asks for a decision."""
    undecided = {key for key in flatten(Config()) if readers(key) is None}
    assert undecided == set()
    assert readers("new_section.key") is None


def test_the_table_of_readers_names_keys_that_exist():
    known = set(flatten(Config()))
    prefixes = {key.rsplit(".", 1)[0] for key in known} | known
    assert set(READ_BY) - prefixes == set()
    assert set(FILE_KEYS) <= known


@given(
    st.floats(min_value=1e-4, max_value=100.0),
    st.integers(1, 10_000_000),
    st.lists(st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True), unique=True),
)
def test_any_values_survive_a_round_trip(temperature, steps, parts):
    config = load_config(None, [f"spin.temperature={temperature!r}", f"spin.max_steps={steps}"])
    config = dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, test=tuple(parts)))
    with tempfile.TemporaryDirectory() as folder:
        assert load_config(write(Path(folder), dump_config(config))) == config
