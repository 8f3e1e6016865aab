"""Configuration: YAML and overrides into dataclasses, errors that name the key and where it came from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.config import Config
from spin.errors import ConfigError
from spin.runtime.limits import PATHS, RANGES
from spin.runtime.settings import dump_config, load_config

CONFS = sorted((Path(__file__).parents[2] / "egs" / "librispeech" / "conf").glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "conf.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", CONFS, ids=lambda path: path.stem)
def test_shipped_configurations_survive_a_round_trip(path, tmp_path):
    config = load_config(path)
    assert load_config(write(tmp_path, dump_config(config))) == config


def test_overrides_win_in_their_order(tmp_path):
    path = write(tmp_path, "spin: {max_steps: 10, learning_rate: 1e-3}\n")
    config = load_config(path, ["spin.max_steps=20", "spin.max_steps=30", "corpus.test=[a, b]", "corpus.corpus_dir='a: b'"])
    assert config.spin.max_steps == 30
    assert config.spin.learning_rate == 1e-3  # YAML 1.1 reads 1e-3 as a word
    assert config.corpus.test == ("a", "b")
    assert config.corpus.corpus_dir == "a: b"


def test_roles_may_share_parts_and_be_empty():
    corpus = load_config(None, ["corpus.spin_train=[a, b]", "corpus.asr_train=[b, a]", "corpus.test=[]"]).corpus
    assert (corpus.spin_train, corpus.asr_train, corpus.test) == (("a", "b"), ("b", "a"), ())


@pytest.mark.parametrize("key", PATHS)
def test_a_tilde_in_a_path_is_the_home_folder(tmp_path, monkeypatch, key):
    monkeypatch.setenv("HOME", str(tmp_path))
    section, name = key.split(".")
    given = [f"decoding.{other}=~/x" for other in ("arpa", "rescore_arpa") if section == "decoding"]
    for value, meant in (("~/a b", f"{tmp_path}/a b"), ("~", str(tmp_path)), ("a/~", "a/~"), ("~no-one/a", "~no-one/a")):
        config = load_config(None, [*given, f"{key}='{value}'"])
        assert getattr(getattr(config, section), name) == meant
        assert load_config(write(tmp_path, dump_config(config))) == config
    assert load_config(None, ["name='~'"]).name == "~"  # not a path


def test_configuration_is_frozen():
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
        ("spin: 3", "spin"),
        ("corpus: {test: a}", "corpus.test"),
        *((f"corpus: {{{role}: [a, b, a]}}", f"corpus.{role}") for role in ("spin_train", "asr_train", "valid", "test")),
        *((f"pretrain: {{{role}: [a, a]}}", f"pretrain.{role}") for role in ("parts", "valid_parts")),
        ("decoding: {bootstrap_samples: 0}", "decoding.bootstrap_samples"),
        ("decoding: {methods: [hlg_nbest], arpa: a.arpa}", "decoding.rescore_arpa"),
        ("decoding: {methods: [hlg, hlg_lattice], rescore_arpa: b.arpa}", "decoding.arpa"),
        ("corpus: {kind: klingon}", "corpus.kind"),
        ("corpus: {parts: {a: {speakers: 1}}}", "corpus.parts.a"),
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


@pytest.mark.parametrize(
    "text", ["methods: [hlg], arpa: a.arpa", "methods: [hlg_lattice]", "methods: [hlg_nbest], arpa: a.arpa, rescore_arpa: b.arpa"]
)
def test_language_models_that_go_together(tmp_path, text):
    assert load_config(write(tmp_path, f"decoding: {{{text}}}")).decoding.methods


def test_error_names_file_and_override(tmp_path):
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


def test_every_number_has_a_range():
    sections = [(field.name, getattr(Config(), field.name)) for field in dataclasses.fields(Config)]
    keys = {
        f"{section}.{field.name}"
        for section, values in sections
        if dataclasses.is_dataclass(values)
        for field in dataclasses.fields(values)
        if field.type.startswith(("int", "float", "tuple[int", "tuple[float"))
    }
    assert keys - RANGES.keys() == set()


@given(
    st.floats(min_value=1e-4, max_value=100.0),
    st.integers(1, 10_000_000),
    st.lists(st.from_regex(r"[a-z][a-z-]{0,8}", fullmatch=True), unique=True),
)
def test_round_trip_of_any_values(temperature, steps, parts):
    config = load_config(None, [f"spin.temperature={temperature!r}", f"spin.max_steps={steps}"])
    config = dataclasses.replace(config, corpus=dataclasses.replace(config.corpus, test=tuple(parts)))
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        assert load_config(write(Path(folder), dump_config(config))) == config
