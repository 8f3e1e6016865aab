"""Configuration: YAML and overrides into dataclasses, errors that name the key and its origin."""

import dataclasses
import re
import tempfile
import typing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin import config as config_module
from spin.config import Config
from spin.config_io import dump_config, load_config
from spin.errors import ConfigError
from spin.product_keys import READ_BY, file_keys, flatten, make_key, readers
from spin.runtime.files import ENCODERS, content_digest

CONFS = sorted((Path(__file__).parents[1] / "egs" / "librispeech" / "conf").glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "conf.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", CONFS, ids=lambda path: path.stem)
def test_shipped_configurations_survive_a_round_trip(path, tmp_path):
    config = load_config(path)
    assert load_config(write(tmp_path, dump_config(config))) == config


def test_overrides_apply_in_order(tmp_path):
    path = write(tmp_path, "spin: {max_steps: 10, learning_rate: 1e-3}\nasr:\n")
    config = load_config(path, ["spin.max_steps=20", "spin.max_steps=30", "corpus.test=[a, b]", "corpus.corpus_dir='a: b'"])
    assert config.spin.max_steps == 30
    assert config.spin.learning_rate == 1e-3  # YAML 1.1 reads 1e-3 as a word
    assert config.corpus.test == ("a", "b") and config.corpus.corpus_dir == "a: b"
    assert config.asr == Config().asr  # an empty section keeps its defaults
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1


@pytest.mark.parametrize("key", ["corpus.corpus_dir", "corpus.data_dir", "corpus.lm_text", "encoder.source", "asr.lexicon"])
def test_a_tilde_in_a_path_is_the_home_folder(tmp_path, monkeypatch, key):
    monkeypatch.setenv("HOME", str(tmp_path))
    for value, meaning in (("~/a b", f"{tmp_path}/a b"), ("~", str(tmp_path)), ("a/~", "a/~"), ("~no-one/a", "~no-one/a")):
        config = load_config(None, [f"{key}='{value}'"])
        assert flatten(config)[key] == meaning
        assert load_config(write(tmp_path, dump_config(config))) == config
    assert load_config(None, ["name='~'"]).name == "~"  # not a path


BOMB = "a: &a [x, x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20))
CODE = "!!python/object/apply:os.system ['touch canary']"
# Text of a file, and a regular expression that the error must contain.
BAD_FILES = {
    "no mapping": ("- 1\n- 2", "list"),
    "not YAML": ("seed: 1\nspin: }", "conf.yaml\n  found: line 2, column 7"),
    "bytes": ("\x00\x01", "conf.yaml"),
    "unknown section": ("spinn: {}", "spinn[\\s\\S]*did you mean 'spin'"),
    "unknown key": ("spin: {max_step: 1}", "spin.max_step .*conf.yaml[\\s\\S]*did you mean 'max_steps'"),
    "unknown key of a system": ("systems: [{name: a, sorce: b}]", "sorce"),
    "doubled key": ("seed: 1\nseed: 2", "appears twice"),
    "key that is a number": ("1: 2", "is not a word"),
    "number for a section": ("spin: 3", "spin"),
    "nothing for a number": ("spin: {max_steps: }", "spin.max_steps"),
    "number of 5,000 digits": ("seed: " + "9" * 5000, "seed|conf.yaml"),
    "float of 5,000 digits": ("spin: {temperature: " + "9" * 5000 + ".0}", "temperature"),
    "impossible date": ("name: 2001-99-99", "conf.yaml"),
    "YAML bomb": (BOMB, "aliases are not allowed"),
    "merge key": ("a: &a {seed: 1}\n<<: *a", "aliases are not allowed"),
    "deep nesting": ("a: " + "[" * 20_000, "conf.yaml"),
    "Python tag": (f"name: {CODE}", "conf.yaml"),
    "Python name tag": ("name: !!python/name:os.system", "conf.yaml"),
    "own tag": ("name: !mine x", "conf.yaml"),
    "binary tag": ("name: !!binary AAAA", "name"),
    "larger than 1 MB": ("#" * 1_000_001, "at most 1000000 bytes"),
    "name with a line feed": ('name: "a\\nb"', "name"),
    "name with a zero byte": ('name: "a\\0b"', "name"),
    "path with a zero byte": ('corpus: {data_dir: "a\\0b"}', "corpus.data_dir"),
}
# Overrides, and a regular expression that the error must contain; None: the key.
BAD_OVERRIDES = {
    "spin": "section.key=value",
    "=1": "section.key=value",
    "spin.=1": "section.key=value",
    "spin.max_steps=[1": "--set spin.max_steps",
    f"name={CODE}": "--set name",
    "spin.max_steps=ten": None,
    "spin.max_steps=1.5": None,
    "spin.max_steps=true": None,
    "spin.max_steps=-1": None,
    "spin.max_steps=1" + "0" * 30: None,
    "spin.compile=1": None,
    "spin.temperature=true": None,
    "spin.temperature=.nan": None,
    "spin.temperature=0": None,
    "spin.weight_decay=-1": None,
    "spin.learning_rate=1e-7": "min_learning_rate and learning_rate",
    "spin.min_samples=300000": "min_samples and max_samples",
    "corpus.test=3": None,
    "corpus.test=a": None,
    "corpus.test=[[a]]": None,
    "corpus.test=[a,a]": None,
    "corpus.kind=klingon": "corpus.kind[\\s\\S]*generated",
    "corpus.name=../../up": None,
    "corpus.min_duration_in_s=50": "m.._duration_in_s",
    "corpus.parts={a: {speakers: 1}}": "corpus.parts.a",
    "corpus.parts={a: {first_speaker: 0, speakers: 1000000000, utterances: 1}}": "corpus.parts.a.speakers",
    "corpus.parts={a: {first_speaker: 0, speakers: 1, utterances: -3}}": "corpus.parts.a.utterances",
    "corpus.parts={../a: {first_speaker: 0, speakers: 1, utterances: 1}}": "corpus.parts",
    "name=../up": None,
    "name=" + "a" * 300: None,
    "objective=magic": "objective[\\s\\S]*spin",
    "systems=[baseline,hubert]": "systems[\\s\\S]*has no source",
    "systems=[baseline,baseline]": None,
    "perturbation.pitch_floor_in_hz=700": "pitch_floor_in_hz and",
    "asr.seeds=[-1]": None,
    "asr.seeds=[1,1]": None,
    "asr.seeds=[]": None,
    "decoding.methods=[magic]": None,
    "decoding.search_beam=0": None,
    "decoding.lm_scales=[-0.5]": None,
    "decoding.lm_order=5": "lm_order and rescore_order",
    "pretrain.steps=[10,20,30]": "clusters and steps",
    "runtime.nj=-1": None,
    "runtime.gpus=two": None,
    "runtime.gpus=BASH_VERSINFO[$(touch canary;echo 0)]": None,
}


@pytest.mark.parametrize("bad", [*BAD_FILES, *BAD_OVERRIDES], ids=lambda bad: bad[:60])
def test_a_bad_file_or_override_names_what_is_wrong(tmp_path, monkeypatch, bad):
    monkeypatch.chdir(tmp_path)
    if bad in BAD_FILES:
        text, words = BAD_FILES[bad]
        source = write(tmp_path, text), []
    else:
        key = bad.partition("=")[0]
        source, words = (None, [bad]), BAD_OVERRIDES[bad] or f"^{key}\\b.*--set {key}="
    with pytest.raises(ConfigError, match=words):
        load_config(*source)
    assert not Path("canary").exists()


def test_files_that_cannot_be_read_and_keys_that_contradict(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    absent = "(?s)No such file.*relative paths start in.*mini.yaml"
    for name, words in (("none.yaml", absent), ("binary.yaml", "utf-8"), (".", "directory")):
        with pytest.raises(ConfigError, match=words):
            load_config(tmp_path / name)
    with pytest.raises(ConfigError, match="'name' is a str[\\s\\S]*a section"):
        load_config(None, ["name=x", "name.x=1"])
    with pytest.raises(ConfigError, match="arpa is not set"):
        load_config(None, ["decoding.methods=[hlg, hlg_lattice]", "decoding.rescore_arpa=b.arpa"])


def test_every_number_has_a_range():
    kinds = [kind for kind in vars(config_module).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)]
    for kind in kinds:
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            assert len(re.findall(r"\b(?:int|float)\b", repr(hint))) == repr(hint).count("Ge(ge="), (kind, name)


def test_every_key_says_which_products_read_it():
    """A new key counts for every product until it is listed in READ_BY; this test asks for a decision."""
    known = set(flatten(Config()))
    assert {key for key in known if readers(key) is None} == set()
    assert readers("new_section.key") is None
    assert set(READ_BY) <= known | {key.rsplit(".", 1)[0] for key in known}


def test_keys_that_name_files():
    read = [key for key in file_keys() if readers(key)]
    assert read == [
        "corpus.alignment_tsv", "corpus.lm_text", "noise.manifests", "noise.impulse_responses", "encoder.source", "rspin.labels",
        "asr.lexicon", "decoding.arpa", "decoding.rescore_arpa", "pretrain.manifests", "pretrain.init",
    ]  # fmt: skip


def test_shipped_encoders_count_by_their_content():
    for name in ("mini", "real"):
        config = load_config(None, [f"encoder.source={name}"])
        assert make_key(config, "spin")["files"]["encoder.source"] == [content_digest(ENCODERS / f"{name}.safetensors")]


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
