"""report.html and report.md: the answer on top, everything escaped, nothing loaded, the same bytes every time."""

from __future__ import annotations

import html.parser
import re

import pytest

from spin import artifacts
from spin.report import figures, markdown, stage, tables
from spin.report import html as page_html
from spin.report.collect import Material, collect
from spin.runtime.files import write_text

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Checker(html.parser.HTMLParser):
    """Collects tags and attributes, and insists that tags close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.identifiers, self.links = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        attributes = dict(attributes)
        self.identifiers += [attributes["id"]] if "id" in attributes else []
        self.links += [value for name, value in attributes.items() if name in ("href", "src", "xlink:href")]
        self.labelled = attributes.get("aria-labelledby")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag


def parsed(text):
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def pictures(drawn):
    return drawn[1]


def test_page_is_whole_and_loads_nothing(material, pictures):
    text = page_html.page(material, pictures)
    checker = parsed(text)
    assert len(checker.identifiers) == len(set(checker.identifiers))
    assert "script" not in checker.tags
    assert all(link.startswith(("#", "data:image/png;base64,")) or link == "report.json" for link in checker.links)
    assert {link[1:] for link in checker.links if link.startswith("#")} <= set(checker.identifiers)
    assert checker.tags.count("svg") == len(pictures)
    outside = re.sub(r'xmlns(:xlink)?="[^"]*"', "", text)
    assert "http://" not in outside and "https://" not in outside
    for label in re.findall(r'aria-labelledby="([^"]+)"', text):
        assert label in checker.identifiers


def test_the_answer_comes_first(material, pictures):
    text = page_html.page(material, pictures)
    body = text[text.index("<main>") :]
    assert body.index("Spin lowers the word error rate on test by 12.4") < body.index('class="cards"') < body.index("<table>")
    assert 'class="answer better"' in body
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text


def test_the_same_bytes_again(context, material, pictures):
    again = collect(context.config, context.exp, context.corpus, context.command, "cpu", 3.21)
    assert page_html.page(again, stage.draw(again)) == page_html.page(material, pictures)  # drawn from another folder
    assert markdown.page(again, pictures, "report.figures") == markdown.page(material, pictures, "report.figures")


def test_text_that_looks_like_code_is_text(context):
    evil = '<script>alert(1)</script> <img/src=x> A&B | [x](y) `z` "q"'
    for system in artifacts.SYSTEMS:
        write_text(artifacts.hypotheses(context.exp, system, 0, "test", "hlg"), f"<b>id\tWORD & MORE\t{evil}\n")
    material = collect(context.config, context.exp, context.corpus, "./run.sh --set name='<i>' `id`", "GPU <b>&", 1.0)
    text = page_html.page(material, [])
    checker = parsed(text)
    assert not {"script", "img", "i", "b"} & set(checker.tags)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "&lt;b&gt;id" in text
    words = markdown.page(material, [], "report.figures")
    outside = re.sub(r"(?m)^    .*$", "", words)  # indented blocks are shown as they are
    assert "<script>" not in outside and "<b>" not in outside


def test_markdown_cells_cannot_break_a_table():
    content = tables.Table("t", ("a|b",), ((tables.Cell("x | y\nz *w* <u>"),),))
    assert markdown.table(content) == "| a\\|b |\n| --- |\n| x \\| y z \\*w\\* &lt;u&gt; |"


def test_markdown_links_every_picture_and_marks_errors(material, pictures):
    text = markdown.page(material, pictures, "report.figures")
    assert re.findall(r"\]\(report\.figures/(\w+)\.svg\)", text) == [picture.name for picture in pictures]
    assert text.startswith("# Spin report: mini\n\n**Spin lowers the word error rate on test")
    assert "    baseline  THE OLD men SAW -- BOAT" in text
    assert "`./run.sh --conf conf/mini.yaml --stage 0 --stop-stage 5`" in text


def test_a_run_where_little_was_measured(material):
    report = material.report
    for system in artifacts.SYSTEMS:
        report["units"][system] = {
            "K": 24,
            **dict.fromkeys(("pnmi", "phone_purity", "cluster_purity", "abx_within", "abx_across", "bitrate")),
        }
        report["speaker"][system] = {"accuracy": None}
    report["speaker"]["chance"] = None
    bare = Material(report)
    pictures = stage.draw(bare)
    assert [picture.name for picture in pictures] == ["wer"]
    text = page_html.page(bare, pictures)
    parsed(text)
    for words in ("not measured", "No phone alignment", "No training curve was recorded", "No recognised text was kept"):
        assert words in text
    assert "not measured" in markdown.page(bare, pictures, "report.figures")


def test_a_third_system_has_its_column(material):
    report = material.report
    report["asr"]["filterbank"] = {"test": {"hlg": report["asr"]["spin"]["test"]["hlg"]}}
    report["units"]["kmeans_on_spin"] = dict(report["units"]["spin"])
    assert tables.systems(report) == ["baseline", "spin", "filterbank", "kmeans_on_spin"]
    recognition = tables.recognition(report)
    assert recognition.header[3:6] == ("baseline", "Spin", "filterbank")
    assert [row[5].text for row in recognition.rows][:2] == ["not measured", "not measured"]
    assert "kmeans on spin" in tables.unit_quality(report).header
    bars = figures.error_bars(report)
    assert "filterbank 36.1" in bars.alt
    parsed(page_html.page(Material(report), [bars]))


def test_a_difference_that_may_be_chance_is_not_called_better(material):
    material.report["gain"]["test"]["hlg"]["p_value"] = 0.4
    cells = [row[5] for row in tables.recognition(material.report).rows]
    assert [cell.tone for cell in cells] == ["better", "better", "", "better"]
    assert cells[2].text.endswith("may be chance")
    assert page_html.page(Material(material.report), []).count("may be chance") == 3


def test_cells_say_in_words_what_their_colour_says(material):
    rows = {row[0].text: row for row in tables.unit_quality(material.report).rows}
    assert rows["PNMI ↑"][3].tone == "better" and rows["PNMI ↑"][3].text.endswith("better")
    assert rows["cluster purity"][3].tone == "" and rows["units (K)"][3].text == ""
