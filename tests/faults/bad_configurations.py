"""Kinds of bad configuration: the file or the option, and the word that the error must name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BadConfiguration:
    """A kind.

    Attributes:
        name: for people.
        text: of the YAML file.
        expected: a regular expression that the message must contain.
        options: further options of the stage.
    """

    name: str
    text: str
    expected: str
    options: tuple[str, ...] = ()


def _set(name: str, *overrides: str, expected: str) -> BadConfiguration:
    return BadConfiguration(name, "", expected, tuple(word for override in overrides for word in ("--set", override)))


_BOMB = "a: &a [x, x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20))
KINDS = (
    BadConfiguration("no mapping", "- 1\n- 2", "list"),
    BadConfiguration("not YAML", "spin: {", "conf.yaml"),
    BadConfiguration("bytes", "\x00\x01", "conf.yaml"),
    BadConfiguration("unknown section", "spinn: {}", "spinn[\\s\\S]*did you mean 'spin'"),
    BadConfiguration("unknown key", "spin: {max_step: 1}", "spin.max_step"),
    BadConfiguration("doubled key", "seed: 1\nseed: 2", "appears twice"),
    BadConfiguration("key that is a number", "1: 2", "is not a word"),
    BadConfiguration("word for a number", "spin: {max_steps: ten}", "spin.max_steps"),
    BadConfiguration("list for a number", "spin: {max_steps: [1]}", "spin.max_steps"),
    BadConfiguration("number for a list", "corpus: {test: 3}", "corpus.test"),
    BadConfiguration("nested list", "corpus: {test: [[a]]}", "corpus.test"),
    BadConfiguration("nothing for a number", "spin: {max_steps: }", "spin.max_steps"),
    BadConfiguration("not a number", "spin: {temperature: .nan}", "spin.temperature"),
    BadConfiguration("infinite", "spin: {temperature: .inf}", "spin.temperature"),
    BadConfiguration("negative", "spin: {max_steps: -1}", "spin.max_steps"),
    BadConfiguration("huge", "spin: {max_steps: 1" + "0" * 30 + "}", "spin.max_steps"),
    BadConfiguration("number of 5,000 digits", "seed: " + "9" * 5000, "seed|conf.yaml"),
    BadConfiguration("float of 5,000 digits", "spin: {temperature: " + "9" * 5000 + ".0}", "temperature"),
    BadConfiguration("impossible date", "name: 2001-99-99", "conf.yaml"),
    BadConfiguration("YAML bomb", _BOMB, "aliases are not allowed"),
    BadConfiguration("merge key", "a: &a {seed: 1}\n<<: *a", "aliases are not allowed"),
    BadConfiguration("deep nesting", "a: " + "[" * 20_000, "conf.yaml"),
    BadConfiguration("Python tag", "name: !!python/object/apply:os.system ['touch canary']", "conf.yaml"),
    BadConfiguration("Python name tag", "name: !!python/name:os.system", "conf.yaml"),
    BadConfiguration("own tag", "name: !mine x", "conf.yaml"),
    BadConfiguration("binary tag", "name: !!binary AAAA", "name"),
    BadConfiguration("larger than 1 MB", "#" * 1_000_001, "bytes"),
    BadConfiguration("no such file", "", "No such file", ("--conf", "absent.yaml")),
    BadConfiguration("a folder", "", "directory", ("--conf", ".")),
    BadConfiguration("name that climbs out", "name: ../up", "name"),
    BadConfiguration("name with a line feed", 'name: "a\\nb"', "name"),
    BadConfiguration("name with a zero byte", 'name: "a\\0b"', "name"),
    BadConfiguration("name of 300 letters", "name: " + "a" * 300, "name"),
    BadConfiguration("corpus name that climbs out", "corpus: {name: ../../up}", "corpus.name"),
    BadConfiguration("path with a zero byte", 'corpus: {data_dir: "a\\0b"}', "corpus.data_dir"),
    _set("override without a value", "spin.max_steps", expected="section.key=value"),
    _set("override of no section", "name.x=1", expected="a section"),
    _set("override with a tag", "name=!!python/object/apply:os.system ['touch canary']", expected="--set name"),
    _set("negative jobs", "runtime.nj=-1", expected="runtime.nj"),
    _set("negative seed of the recogniser", "asr.seeds=[-1]", expected="asr.seeds"),
    _set("a seed twice", "asr.seeds=[1,1]", expected="asr.seeds"),
    _set("no seed", "asr.seeds=[]", expected="asr.seeds"),
    _set("a test part twice", "corpus.test=[test,test]", expected="corpus.test"),
    _set("a training part twice", "corpus.asr_train=[a,b,a]", expected="corpus.asr_train"),
    _set("word for GPUs", "runtime.gpus=two", expected="runtime.gpus"),
    _set("unknown objective", "objective=magic", expected="objective"),
    _set("unknown corpus kind", "corpus.kind=klingon", expected="corpus.kind"),
    _set("system without a source", "systems=[baseline,hubert]", expected="systems"),
    _set("no iteration", "pretrain.steps=[10,20,30]", expected="clusters and steps"),
    _set("shell arithmetic for GPUs", "runtime.gpus=BASH_VERSINFO[$(touch canary;echo 0)]", expected="runtime.gpus"),
    _set("unknown decoding method", "decoding.methods=[magic]", expected="decoding.methods"),
    _set("shortest above longest", "corpus.min_duration_in_s=9", "corpus.max_duration_in_s=3", expected="m.._duration_in_s"),
    _set("shortest crop above longest", "spin.min_samples=9000", "spin.max_samples=8000", expected="m.._samples"),
    _set("pitch floor above ceiling", "perturbation.pitch_floor_in_hz=700", expected="pitch_floor"),
    _set(
        "a billion generated speakers",
        "corpus.parts={a: {first_speaker: 0, speakers: 1000000000, utterances: 1}}",
        expected="corpus.parts.a.speakers",
    ),
    _set(
        "negative utterances",
        "corpus.parts={a: {first_speaker: 0, speakers: 1, utterances: -3}}",
        expected="corpus.parts.a.utterances",
    ),
    _set("part that climbs out", "corpus.parts={../a: {first_speaker: 0, speakers: 1, utterances: 1}}", expected="corpus.parts"),
    _set("negative weight decay", "spin.weight_decay=-1", expected="spin.weight_decay"),
    _set("no beam", "decoding.search_beam=0", expected="decoding.search_beam"),
    _set("language model scale below nothing", "decoding.lm_scales=[-0.5]", expected="decoding.lm_scales"),
)
