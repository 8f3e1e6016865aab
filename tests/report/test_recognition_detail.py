"""Tables of speakers and of confused words, by hand; what a report without such figures shows."""

from __future__ import annotations

import copy

import pytest

from spin import artifacts
from spin.report import figures, html, metrics, story, tables, targets
from spin.report.collect import read_hypotheses
from spin.report.recognition_detail import confusions, detail_tables, over_speakers, per_speaker
from spin.report.runs import recognition_pairs
from spin.report.schema import problems
from spin.runtime.files import write_jsonl, write_text

RESULT = {"wer": 50.0, "cer": 30.0, "ci95": [40.0, 60.0], "words": 10, "errors": 5}
REPORT = {
    "seeds": [0, 1],
    "units": {},
    "asr": {
        "baseline": {"test": {"hlg": {**RESULT, "ci95_speakers": [30.0, 70.0]}}},
        "spin": {"test": {"hlg": {**RESULT, "ci95_speakers": [31.0, 69.0]}}},
        "fbank": {"test": {"hlg": {**RESULT, "ci95_speakers": [35.0, 75.0]}}},
    },
    "gain": {"test": {"hlg": {"relative_wer_reduction": 0.0, "p_value": 1.0, "p_value_speakers": 0.2}}},
}
TEXTS = {
    "baseline": [("u1", "ann", "A CAT SAT", "A BAT SAT"), ("u2", "bob", "A DOG", "DOG")],
    "spin": [("u1", "ann", "A CAT SAT", "A CAT SAT"), ("u2", "bob", "A DOG", "THE DOG TOO")],
    "fbank": [("u1", "ann", "A CAT SAT", "A BAT SAT"), ("u2", "bob", "A DOG", "A DOG")],
}
ERRORS = {"baseline": (1, 1), "spin": (0, 2), "fbank": (1, 0)}


@pytest.fixture
def exp(tmp_path):
    """Decodings of two seeds that say the same."""
    for system, rows in TEXTS.items():
        for seed in REPORT["seeds"]:
            place = (tmp_path, system, seed, "test", "hlg")
            lines = (f"{name}\t{reference}\t{text}\n" for name, _, reference, text in rows)
            write_text(artifacts.hypotheses(*place), "".join(lines))
            records = [
                {"id": name, "speaker": speaker,
                 "words": {"reference": len(reference.split()), "insertions": 0, "deletions": 0, "substitutions": errors}}
                for (name, speaker, reference, _), errors in zip(rows, ERRORS[system])
            ]  # fmt: skip
            write_jsonl(artifacts.utterance_counts(artifacts.decode_folder(*place)), records)
    return tmp_path


def cells(table: tables.Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_speakers_by_hand(exp):
    table = per_speaker(exp, REPORT, ["baseline", "spin", "fbank"], ("test", "hlg"))
    rows = cells(table)
    assert [row[:3] for row in rows] == [["ann", "2", "6"], ["bob", "2", "4"]]
    assert [cell.replace(metrics.SPACE, " ") for cell in rows[0][3:6]] == ["33.3 %", "0.0 %", "33.3 %"]
    assert rows[1][3].startswith("50.0") and rows[1][4].startswith("100.0")
    assert "better for 1 and worse for 1 of 2 speakers" in table.note
    assert table.rows[0][-1].tone == "better" and table.rows[1][-1].tone == "worse"


def test_confusions_by_hand(exp):
    table = confusions(exp, REPORT, ["baseline", "spin", "fbank"], ("test", "hlg"), read_hypotheses)
    assert cells(table)[0] == ["CAT", "BAT", "2", "0", "2"]
    assert sorted(cells(table)[1:]) == sorted(
        [["A", "\u2205", "2", "0", "0"], ["A", "THE", "0", "2", "0"], ["\u2205", "TOO", "0", "2", "0"]]
    )


def test_intervals_over_speakers():
    table = over_speakers(REPORT, ["baseline", "spin"])
    assert cells(table)[0][2].startswith("30.0 to 70.0") and "0.200" in cells(table)[0][-1]
    bare = copy.deepcopy(REPORT)
    del bare["asr"]["spin"]["test"]["hlg"]["ci95_speakers"]
    assert over_speakers(bare, ["baseline", "spin"]) is None


def test_all_tables_and_none(exp, tmp_path):
    titles = [table.title for table in detail_tables(exp, REPORT, read_hypotheses)]
    assert titles == ["Recognition errors, intervals over speakers", "Errors by speaker", "Most frequent errors"]
    bare = {**REPORT, "asr": {"baseline": {}, "spin": {}}, "gain": {}}
    assert detail_tables(exp, bare, read_hypotheses) == []
    assert len(detail_tables(tmp_path / "nothing", REPORT, read_hypotheses)) == 1


def test_phone_error_rates_are_called_so(material):
    report = material.report
    for system in ("baseline", "spin"):
        methods = report["asr"][system]["test"]
        del methods["hlg"]
        methods["ctc_1best"] |= {"per": methods["ctc_1best"]["wer"], "cer": methods["ctc_1best"]["wer"]}
    del report["gain"]["test"]["hlg"]
    assert problems(report) == []
    assert [row[2].text for row in tables.recognition(report).rows] == ["PER"]
    answer = story.headline(report)
    assert "phone error rate" in answer.title and "word error rate" not in answer.title and "phones" in answer.detail


def test_phone_error_rates_beside_word_error_rates(material):
    """In cards, chart, rows of runs and targets a phone error rate is neither a WER nor a CER."""
    report = material.report
    for system in ("baseline", "spin"):
        best = report["asr"][system]["test"]["ctc_1best"]
        best |= {"per": best["wer"], "cer": best["wer"]}
    assert [pair.name.split(",")[0] for pair in recognition_pairs([report])] == ["PER", "WER", "CER"]
    chart = figures.error_bars(report)
    assert chart.title == "Error rates" and "PER, CTC, best path" in chart.alt and "WER, HLG" in chart.alt
    for system in ("baseline", "spin"):
        del report["asr"][system]["test"]["hlg"]
    del report["gain"]["test"]["hlg"]
    chart = figures.error_bars(report)
    assert chart.title == "Phone error rates" and "word" not in chart.alt
    page = html.page(material, [])
    assert "Phone error rate, test" in page and "Character error rate" not in page and "Word error rate" not in page
    assert targets.verdicts([report])[0].outcome == targets.OPEN


def test_a_third_system_stands_in_the_tables(material):
    report = material.report
    report["asr"]["fbank"] = copy.deepcopy(report["asr"]["baseline"])
    assert problems(report) == []
    assert "filterbank" in tables.recognition(report).header
