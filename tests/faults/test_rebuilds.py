"""Which products a change rebuilds, through the real stage scripts: the change pays for itself, and for nothing else."""

import re
from fnmatch import fnmatchcase

import pytest

from spin import artifacts
from tests.faults.layouts import DATA, EXP, remove

BUILT = re.compile(r"INFO \[spin\.stage\d\] (.+); building it$", re.MULTILINE)
REASON = re.compile(
    r": (?:not built yet|its input changed|--force|it has no readable key|[^:]+ changed from |[^:]+ is gone|[^:]+ was changed |"
    r"the content of )"
)
REPORT = ("scores", "report")
# name -> changes, and patterns of the products that they may build
ROWS = {
    "another seed": (
        ["asr.seeds=[0,1]"],
        ["recogniser of *, seed 1", "LM scales of *, seed 1", "decoding of *, seed 1", *REPORT],
    ),
    "one more method": (
        ["decoding.methods=[ctc_1best,hlg,hlg_lattice]"],
        ["G of *", "LM scales of hlg_lattice*", "decoding of * by hlg_lattice*", *REPORT],
    ),
    "one more system": (["systems=[baseline,spin,fbank]"], ["* of fbank*", "*: fbank*", "TensorBoard of stage 3", *REPORT]),
    "pictures": (["units.pictures=1"], ["TensorBoard of stage 3"]),
    "seconds of the metrics": (["units.metrics_first_seconds=0.5"], ["metrics of *", "TensorBoard of stage 3", "report"]),
    "bootstrap samples": (["decoding.bootstrap_samples=50"], REPORT),
    "shares, workers and checkpoints": (
        [
            "corpus.max_bad_share=0.5", "corpus.allow_shared_speakers=true", "spin.checkpoint_every_steps=2", "spin.workers=1",
            "asr.checkpoint_every_steps=2", "runtime.nj=2",
        ],
        [],
    ),
    "LM text": (
        ["corpus.lm_text=other.txt"],
        ["LM text", "lexicon", "lang", "HLG of *", "LM scales of *", "decoding of * by hlg: *", *REPORT],
    ),
    "another test part": (
        ["corpus.test=[test,more]"],
        ["manifest of more", "LM text", "lexicon", "lang", "* of *, more", "decoding of more *", "metrics of *", "TensorBoard *",
         *REPORT],
    ),
}  # fmt: skip


@pytest.fixture
def run(experiment):
    """Runs stages with changed settings and lists the products that were built."""

    def run(*changes: str, stages=tuple(artifacts.STAGES), more=(), status: int = 0) -> list[str]:
        words = [word for change in changes for word in ("--set", change)]
        run.output = ""
        for stage in stages:
            ended = experiment.run(stage, *words, *more)
            run.output += ended.output
            assert ended.status == status, ended.output
        return [REASON.split(line)[0] for line in BUILT.findall(run.output)]

    run.folder = experiment.folder
    (run.folder / "other.txt").write_text("HELLO WORLD\nGOOD WORLD\nMORNING AGAIN\nHELLO MOON\n")
    return run


@pytest.mark.parametrize("name", ROWS)
def test_a_change_rebuilds_what_depends_on_it_and_nothing_else(run, name):
    changes, allowed = ROWS[name]
    built = run(*changes)
    unexpected = [product for product in built if not any(fnmatchcase(product, pattern) for pattern in allowed)]
    assert not unexpected, run.output
    optional = {"lexicon", "lang", "LM text", "report"}  # their inputs may come out equal
    missing = [pattern for pattern in allowed if not any(fnmatchcase(product, pattern) for product in built)]
    assert not set(missing) - optional, f"{missing} not in {built}"
    assert run(*changes) == []


def test_fewer_scales_change_a_decoding_only_when_its_scale_changes(run):
    summary = next((run.folder / EXP / "decode").rglob("test/hlg/summary.json")).read_text()
    kept = re.search(r'"lm_scale": ([0-9.]+)', summary)[1]
    built = run(f"decoding.lm_scales=[{kept}]")
    assert not [product for product in built if product.startswith("recogniser")]
    assert [product for product in built if product.startswith("decoding")] == [] or "spin" in "".join(built)


def test_a_changed_recording_is_read_again(run):
    transcript = run.folder / "LibriSpeech/dev/5/1/5-1.trans.txt"
    transcript.write_text(transcript.read_text().replace("GOOD DAY", "GOOD NIGHT"))
    built = run()
    assert built[0] == "manifest of dev" and "Spin model" in built  # the manifest of dev is an input of its validation
    assert "manifest of train" not in built and "pitch of train" not in built


def test_a_damaged_product_alone_is_rebuilt(run):
    """Each kind of damage: test_bad_products.py."""
    (run.folder / EXP / "units/baseline/kmeans.safetensors").write_bytes(b"edited")
    remove(run.folder / DATA / "pitch" / "train")
    assert run() == ["pitch of train", "k-means of baseline"]


def test_a_typo_keeps_everything(run):
    before = {path: path.stat().st_mtime_ns for path in (run.folder / EXP).rglob("*.safetensors")}
    run("spin.max_stepz=9", stages=(2,), status=1)
    run("corpus.test=[absent]", stages=(0,), status=1)
    assert before == {path: path.stat().st_mtime_ns for path in (run.folder / EXP).rglob("*.safetensors")}
    assert run() == []


def test_force_rebuilds_its_stage_and_equal_content_ends_there(run):
    built = run(stages=(3,), more=("--force",))
    assert "features of baseline, test" in built and "metrics of spin" in built
    assert [product for product in run() if product != "report"] == []


def test_a_comparison_without_training_needs_no_stage_2(run):
    remove(run.folder / "exp")
    built = run("systems=[baseline,{name: other, source: mini, layer: 2}]")
    assert "metrics of other" in built and "Spin model" not in built and "pitch of train" not in built
    assert "no system is trained" in run.output
