"""report.html and report.md: the answer on top, everything escaped, nothing loaded, the same bytes every time."""

import re
import xml.etree.ElementTree as ElementTree

from spin.report import tables
from spin.report.pages import cards, render_html, render_markdown, table
from spin.report.write_report import plot_all
from tests.report.made_up_run import make_material, shown


def bare(exp, report):
    """(report, pictures, tables) without histories, counts of phones and audio."""
    return report, plot_all(report, {}, {}, []), tables.all_tables(exp, report)


def attributes(root, *names):
    return [element.get(name) for element in root.iter() for name in names if element.get(name) is not None]


def tags(root):
    return [element.tag.split("}")[-1] for element in root.iter()]


def test_the_page_is_whole_and_loads_nothing(five):
    text = render_html(*five)
    root = ElementTree.fromstring(text)
    identifiers, links = attributes(root, "id"), attributes(root, "href", "src", "{http://www.w3.org/1999/xlink}href")
    assert len(identifiers) == len(set(identifiers)) and {*attributes(root, "aria-labelledby")} <= {*identifiers}
    assert all(link.startswith(("#", "data:image/png;base64,")) or link == "report.json" for link in links)
    assert {link[1:] for link in links if link.startswith("#")} <= set(identifiers)
    assert "script" not in tags(root) and "default-src 'none'" in text
    assert tags(root).count("svg") == sum(map(len, five[1].values()))
    outside = re.sub(r'xmlns(:xlink)?="[^"]*"', "", text)
    assert "http://" not in outside and "https://" not in outside
    body = text[text.index("<main>") :]
    assert body.index("Spin lowers the word error rate on test by 12.4") < body.index('class="cards"') < body.index("<table>")
    assert 'class="answer better"' in body and "prefers-color-scheme: dark" in text


def test_the_same_material_gives_the_same_bytes(tmp_path, config):
    first, second = (render_html(*make_material(tmp_path / name, config)) for name in ("first", "second"))
    assert first == second


def test_text_that_looks_like_code_is_text(tmp_path, config):
    report, pictures, _ = make_material(tmp_path / "exp", config)
    report |= {"command": "./run.sh --set name='<i>' `id`", "device": "GPU <b>&"}
    made = tables.all_tables(tmp_path / "exp", report)
    evil = [tables.cells("<b>id", '<script>alert(1)</script> <img/src=x> A&B | [x](y) `z` "q"')]
    made["Recognition"].append(tables.Table("Text", ("id", "text"), evil, 2))
    text = render_html(report, pictures, made)
    assert not {"script", "img", "i", "b"} & set(tags(ElementTree.fromstring(text)))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "&lt;b&gt;id" in text
    assert "A &lt;TEST&gt;" in text and "A <TEST>" not in text
    markdown, command = render_markdown(report, made).split("The command, to be pasted:")
    assert command == f"\n\n    {report['command']}\n" and not any(tag in markdown for tag in ("<script>", "<b>", "<i>"))
    assert markdown.startswith("# Spin report: mini\n\n**Spin lowers")
    content = tables.Table("t", ("a|b",), ((tables.Cell("x | y\nz *w* <u>", "below"),),))
    assert table(content) == "| a\\|b |\n| --- |\n| x \\| y z \\*w\\* &lt;u&gt; (below) |"


def test_a_run_with_one_system_or_few_measures(report, tmp_path):
    one = {**report, "systems": ["baseline"]}
    text = render_html(*bare(tmp_path / "exp", one))
    ElementTree.fromstring(text)
    assert cards(one)[0] == ("Word error rate, test", "", tables.Cell("41.2\u00a0%")) and "there is no second system" in text
    for system in ("baseline", "spin"):
        names = ("pnmi", "phone_purity", "cluster_purity", "abx_within", "abx_across", "bitrate")
        report["units"][system] = {"K": 24, **dict.fromkeys(names)}
    _, pictures, made = bare(tmp_path / "exp", report)
    assert [picture.name for chosen in pictures.values() for picture in chosen] == ["wer"]
    text = render_html(report, pictures, made)
    ElementTree.fromstring(text)
    for words in ("not measured", "No phone alignment", "No training curve was recorded"):
        assert words in text
    assert "not measured" in render_markdown(report, made)


def test_noisy_parts_are_compared(report):
    assert tables.units_by_part(report).rows == []
    for parts in report["units_by_part"].values():
        parts["test+babble_0dB"] = {**parts["test"], "unit_edit_distance": 40.0}
    rows = [shown(row) for row in tables.units_by_part(report).rows]
    assert ["test+babble_0dB", "unit edit distance ↓", "40.0 %", "40.0 % | 0.0 %"] in rows


def test_cells_say_in_words_what_their_colour_says(report):
    rows = {row[0].text: row for row in tables.unit_metrics(report).rows}
    assert shown(rows["PNMI ↑"])[2] == "0.426 | +4.2 %, better" and rows["PNMI ↑"][2].tone == "better"
    assert shown(rows["cluster purity"])[2] == "0.190 | −5.0 %" and shown(rows["codebook size (K)"])[1:] == ["24", "24"]
    report["gain"]["spin"]["test"]["hlg"]["p_value"] = 0.4
    row = tables.recognition(report, "features").rows[2]
    assert shown(row)[3:] == ["41.2 % [39.7, 42.7]", "36.1 % [34.6, 37.6] | −12.4 %, may be chance, p = 0.400", "1,000"]
    assert row[4].tone == "" and [cell.tone for _, _, cell in cards(report)] == ["", "", "better", "better"]
