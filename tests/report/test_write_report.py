"""Reading the products of a run, and writing its report."""

import dataclasses
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
from lhotse.supervision import AlignmentItem

from spin import artifacts, products
from spin.config_io import load_config
from spin.data.cuts import read_cuts, write_cuts
from spin.errors import DataError
from spin.report import pictures
from spin.report.measures import Decoding
from spin.report.tables import all_tables
from spin.report.validate import main as validate
from spin.report.validate import problems
from spin.report.write_report import build_seconds, collect_pictures, report_config, version, write_report
from spin.runtime.files import read_json, write_json, write_jsonl
from spin.runtime.product import Product
from spin.systems import systems_of
from tests.data.synthetic import write_corpus
from tests.report.made_up_run import make_context, metrics, phone_counts, scores, write_decodings

ERRORS = {"baseline": {"ctc_1best": 780, "hlg": 412}, "spin": {"ctc_1best": 702, "hlg": 361}}


def product(context, kind, path, stage, inputs=()):
    return Product(context, f"{kind} {path.name}", path, stage=stage, own_key={"config": {}, "files": {}}, inputs=inputs)


def write_units(folder, exp):
    """Manifest and units of three utterances: 1 s, 0.5 s without alignment, 3 s."""
    cuts = list(read_cuts(write_corpus(exp.parent, "u", [1.0, 0.5, 3.0], pitch_name=False, phones=False)))
    for cut in (cuts[0], cuts[2]):
        items = [AlignmentItem("AA", 0.0, 0.3), AlignmentItem("S", 0.3, 2.7)]
        cut.supervisions[0].alignment = {artifacts.PHONE_TIER: items}
    write_cuts(artifacts.cuts_in(folder), cuts)
    write_jsonl(artifacts.units_lines(folder), [{"id": cut.id, "units": [5] * round(cut.duration * 50)} for cut in cuts])


@pytest.fixture
def run(tmp_path, config, monkeypatch):
    """(context, product of the scores) of a finished run of two systems, whose products are small and made up."""
    exp = tmp_path / "exp"
    context = make_context(exp, config)

    def units(context, system, part):
        return product(context, "units", artifacts.units_folder(exp, system.name, part), 3)

    def of_metrics(context, system):
        return product(context, "metrics", artifacts.metrics_folder(exp, system.name), 3, [units(context, system, "test")])

    monkeypatch.setattr(products, "units", units)
    monkeypatch.setattr(products, "metrics", of_metrics)
    for index, system in enumerate(systems_of(context.config, exp)):
        with units(context, system, "test").building() as partial:
            write_units(partial, exp)
        with of_metrics(context, system).building() as partial:
            write_json(artifacts.metrics_in(partial), metrics(index))
            phones, counts = phone_counts(index)
            np.savez(artifacts.phone_counts_in(partial), phones=np.array(phones), counts=counts)
        history = artifacts.history_in(artifacts.recogniser_folder(exp, system.name, "features", 0))
        write_jsonl(history, [{"step": step, "valid_wer": 90.0 - step} for step in (1, 2)])
    write_jsonl(artifacts.history_in(artifacts.spin_folder(exp)), [{"step": 50, "loss": 4.0, "pnmi": 0.4}])
    write_decodings(exp, ("baseline", "spin"), Decoding("features", "test", "hlg"))
    of_scores = product(context, "scores", artifacts.scores(exp), 5)
    with of_scores.building() as partial:
        write_json(partial, scores(ERRORS))
    return context, of_scores


def test_a_whole_run(run):
    context, of_scores = run
    write_report(context, of_scores)
    report = read_json(artifacts.report(context.exp, "json"))
    assert problems(report) == [] and report["schema"] == 2
    assert report["systems"] == ["baseline", "spin"] and report["device"] == "cpu" and report["seeds"] == [0]
    assert report["asr"] == read_json(artifacts.scores(context.exp))["asr"]
    assert report["units"]["spin"]["pnmi"] == 0.426 and report["units_by_part"]["spin"]["test"]["unit_edit_distance"] == 12.5
    assert report["speaker"] == {"baseline": {"accuracy": 0.98}, "spin": {"accuracy": 0.96}, "chance": 0.033}
    drawn = collect_pictures(context, report)
    training = [picture.alt for picture in drawn["training"]]
    assert training[0].endswith("Spin from 4 at step 50 to 4 at step 50.") and len(training) == 3
    assert training[2].endswith("baseline from 89 at step 1 to 88 at step 2; Spin from 89 at step 1 to 88 at step 2.")
    assert [picture.name for picture in drawn["maps"]] == ["map_0", "map_1"]
    names = ["Recognition errors", "Errors by speaker", "Most frequent errors", "Recognised text"]
    assert [table.title for table in all_tables(context.exp, report)["Recognition"]] == names


@pytest.mark.parametrize("decoded", [True, False])
def test_everything_is_written_once(run, decoded, repository):
    """A run without recognisers, as of conf/published.yaml, gets the same pages, but no report.json."""
    context, of_scores = run
    page, text, json = (artifacts.report(context.exp, kind) for kind in ("html", "md", "json"))
    stage = runpy.run_path(str(repository / "local/5_decode_and_report.py"))["decode_and_report"]
    bare = dataclasses.replace(context.config, corpus=dataclasses.replace(context.config.corpus, asr_train=()))

    def write():
        return write_report(context, of_scores) if decoded else stage(dataclasses.replace(context, config=bare))

    if not decoded:
        write_json(json, {})  # of another configuration
    write()
    assert (validate([str(json)]) == 0) == json.exists() == decoded
    html, markdown = page.read_text(encoding="utf-8"), text.read_text(encoding="utf-8")
    assert html.startswith("<!DOCTYPE html>") and markdown.startswith("# Spin report")
    for content in (html, markdown):
        assert "0.426" in content and ("36.1\u00a0%" in content) == ("report.json" in html) == decoded
        assert ("no recogniser was trained" in content) != decoded
    before = page.stat().st_mtime_ns
    write()
    assert page.stat().st_mtime_ns == before
    for path in (page, text):
        path.unlink()
        write()
        assert path.exists()
    changed = page.stat().st_mtime_ns
    with products.metrics(context, systems_of(context.config, context.exp)[1]).building() as partial:
        write_json(artifacts.metrics_in(partial), metrics(2))  # without phone counts, as without an alignment
    write()
    assert page.stat().st_mtime_ns > changed
    assert "0.443" in page.read_text(encoding="utf-8") and "Units and phones: Spin" not in page.read_text(encoding="utf-8")


def test_figures_outside_the_schema_are_not_written(run):
    context, of_scores = run
    content = scores(ERRORS)
    del content["gain"]["spin"]["test"]["hlg"]
    with of_scores.building() as partial:
        write_json(partial, content)
    with pytest.raises(DataError, match=r"(?s)gain\.spin\.test\.hlg: missing.*--stage 3 --stop-stage 5.*--force"):
        write_report(context, of_scores)
    assert not artifacts.report(context.exp, "json").exists()


def test_utterances_are_read_and_cut(run, monkeypatch):
    context, _ = run
    drawn, report = [], {"systems": ["baseline", "spin"]}
    monkeypatch.setattr(pictures, "plot_utterance", lambda *arguments: drawn.append(arguments))
    monkeypatch.setattr(pictures, "LONGEST_IN_S", 0.8)
    first, second = pictures.utterances(context, report)
    assert first.title == "Utterance u-0000" and "A WORD" in first.caption and "0.8 s" in first.alt and "0.5 s" in second.alt
    assert [len(audio) for audio, _, _ in drawn] == [12_800, 8000]
    assert [phones for _, phones, _ in drawn] == [[(0.0, 0.3, "AA"), (0.3, 0.8, "S")], []]
    assert {title: units.tolist() for title, units in drawn[0][2].items()} == {"baseline": [5] * 40, "Spin": [5] * 40}
    (context.exp.parent / "audio" / "u-0000.wav").unlink()
    assert [item.title for item in pictures.utterances(context, report)] == ["Utterance u-0001"]


def test_times_are_summed_over_all_products_once():
    def node(path, stage, seconds, inputs=()):
        return SimpleNamespace(path=path, stage=stage, seconds=seconds, inputs=inputs)

    manifest, missing = node("m", 0, 1.5), node("x", 1, None)
    features = [node(f"f{index}", 3, 2.0, [manifest, missing]) for index in range(3)]
    assert build_seconds([node("s", 5, 0.25, features), features[0]]) == {"stage0": 1.5, "stage3": 6.0, "stage5": 0.2}


def test_folders_and_devices_stay_out_of_the_report(config):
    other = load_config(None, ["corpus.data_dir=else", "corpus.corpus_dir=where", "runtime.nj=9", "runtime.device=auto"])
    assert report_config(config) == report_config(other)
    assert report_config(dataclasses.replace(config, seed=5)) != report_config(config)
    assert (version("numpy"), version("no-such-package-of-this-project")) == (np.__version__, "not installed")
