"""The report's tables as plain rows, which write_report.py writes out.

The last ones go behind the error rates of the headline's decoding: intervals over speakers, errors by speaker, confused words,
recognised text.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from spin import artifacts
from spin.asr.scoring import NOTHING, Hypothesis, read_counts
from spin.report import measures
from spin.report.measures import SIGNIFICANT
from spin.units.metrics import METRICS, Metric

SPEAKERS_SHOWN = 60
CONFUSIONS_SHOWN = 20
EXAMPLES_SHOWN = 3  # where a system helps most, and as many where it hurts most
NO_WORD = "\u2205"
INPUT_TITLES = {"features": "Recognition errors", "units": "Recognition errors from units"}


class Cell(NamedTuple):
    """Text with a second line below it, whose tone ('better', 'worse' or '') is a colour for what its words say as well."""

    text: str
    below: str = ""
    tone: str = ""


class Table(NamedTuple):
    """A header and rows of cells. The first column names the row; those after the first `texts` columns hold figures."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[Sequence[Cell]]
    texts: int = 1
    note: str = ""
    folded: bool = False  # behind its title on the page


def all_tables(exp: Path, report: dict) -> dict[str, list[Table]]:
    """The tables of each section that this report has material for."""
    where = measures.primary(report)
    details = (per_speaker, confusions, examples) if where is not None else ()
    sections = {
        "Recognition": [
            *(recognition(report, input_kind) for input_kind in measures.SUFFIXES),
            over_speakers(report),
            *(make(exp, report, where) for make in details),
        ],
        "Units": [unit_metrics(report), units_by_part(report)],
        "How it was made": [provenance(report), times(report)],
    }
    return {title: [table for table in made if table.rows] for title, made in sections.items()}


def cells(*texts: str | Cell) -> list[Cell]:
    return [text if isinstance(text, Cell) else Cell(text) for text in texts]


def change_cell(measure: Metric, text: str, before: float | None, after: float | None, p: float | None = None) -> Cell:
    """A figure with its relative change below it, a word for what that means, and the p-value where it was tested."""
    tone = word = measures.tone(measure, before, after)
    if tone and p is not None and p >= SIGNIFICANT:
        word, tone = "may be chance", ""
    change = measures.signed(measures.relative_change(before, after))
    return Cell(text, ", ".join(filter(None, [change, word, "" if p is None else measures.p_value(p)])), tone)


def system_cells(measure: Metric, values: Sequence[float | None], spans: Sequence[str] = (), tests: Sequence = ()) -> list[Cell]:
    """One cell per system, baseline first, each other with its change and its p-value of `tests`; `spans` are behind figures."""
    texts = [measures.show(measure, value) for value in values]
    texts = [f"{text} {span}" for text, span in zip(texts, spans)] or texts
    if measure.name == "K":  # a setting, not a result
        return cells(*texts)
    changes = zip(texts[1:], values[1:], tests or [None] * len(texts))
    return [Cell(texts[0]), *(change_cell(measure, text, values[0], value, p) for text, value, p in changes)]


def recognition(report: dict, input_kind: str) -> Table:
    """Error rates of every decoding by the recognisers that read this input."""
    rows = [row for decoding in measures.decodings(report, input_kind) for row in _recognition_rows(report, decoding)]
    header = ("part", "decoding", "measure", *measures.system_titles(report).values(), "words")
    note = (
        "Brackets: 95\u00a0% interval. Second line: relative change against the first system, and a paired test on the same "
        "utterances. Both by bootstrap over utterances; with three or more seeds they include the spread of the trainings "
        "(Student's t), with fewer they hold for these trainings only. Words: over all seeds."
    )
    return Table(INPUT_TITLES[input_kind], header, rows, 3, note)


def _recognition_rows(report: dict, decoding: measures.Decoding) -> list[list[Cell]]:
    systems, rows = report["systems"], []
    results = [measures.result(report, decoding, system) for system in systems]
    spans = ["[{:.1f},\u00a0{:.1f}]".format(*result["ci95"]) for result in results]
    tests, words = [measures.gain(report, decoding, system)["p_value"] for system in systems[1:]], f"{results[0]['words']:,}"
    for measure in measures.error_measures(results[0]):
        row = system_cells(measure, [result[measure.name] for result in results], spans, tests)
        rows.append(cells(decoding.part, measures.method_title(decoding.method), measures.initials(measure), *row, words))
        spans, tests, words = (), (), ""  # the interval and the test are of the first rate
    return rows


def unit_metrics(report: dict) -> Table:
    """Metrics of units and features, pooled over the clean test parts."""
    rows = []
    for metric in METRICS:
        if any(metric.name in figures for figures in report["units"].values()):  # figures of noisy parts are not pooled
            name = Cell(metric.title + measures.arrow(metric), metric.meaning)
            rows.append([name, *system_cells(metric, measures.unit_values(report, metric.name))])
    header = ("measure", *measures.system_titles(report).values())
    note = "All systems see the same audio and alignments. Units come from a system's own codebook, otherwise from k-means."
    return Table("Quality of the units", header, rows, note=note)


def units_by_part(report: dict) -> Table:
    """The same metrics of each test part, noisy copies included; empty for a single part."""
    figures, rows = report.get("units_by_part") or {}, []
    parts = list(dict.fromkeys(part for of_system in figures.values() for part in of_system))
    for part in parts if len(parts) > 1 else ():
        for metric in METRICS:
            values = [figures[system][part].get(metric.name) for system in report["systems"]]
            if values != [None] * len(values):
                rows.append(cells(part, metric.title + measures.arrow(metric), *system_cells(metric, values)))
    header = ("part", "measure", *measures.system_titles(report).values())
    return Table("Units by part", header, rows, 2, folded=True)


def provenance(report: dict) -> Table:
    """Command, commit, device, seeds and versions."""
    origin = {
        "command": report["command"],
        "commit": report["commit"],
        "device": report["device"],
        "seeds": f"{report['seed']} (data and training), {', '.join(map(str, report['seeds']))} (recognisers)",
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(report["versions"].items())),
    }
    return Table("Origin", ("what", "value"), [cells(*item) for item in origin.items()], 2)


def times(report: dict) -> Table:
    """Time that the products of each stage took to build."""
    seconds = report["seconds"]
    named = {f"{number} {name.replace('_', ' ')}": seconds.get(f"stage{number}") for number, name in artifacts.STAGES.items()}
    named["total"] = sum(seconds.values()) if seconds else None
    return Table("Time", ("stage", "h:mm:ss"), [cells(name, measures.duration(value)) for name, value in named.items()])


def over_speakers(report: dict) -> Table:
    """Intervals and tests over speakers instead of utterances, where the results have them."""
    rows = []
    for decoding in measures.decodings(report):
        results = [measures.result(report, decoding, system) for system in report["systems"]]
        if all(result.get("ci95_speakers") for result in results):
            gains = [measures.gain(report, decoding, system) for system in report["systems"][1:]]
            tests = ["", *(f" ({measures.p_value(gain.get('p_value_speakers'))})" for gain in gains)]
            row = [measures.interval(result["ci95_speakers"]) + test for result, test in zip(results, tests)]
            rows.append(cells(decoding.part, decoding.input_kind, measures.method_title(decoding.method), *row))
    note = (
        "95\u00a0% intervals of the error rate over speakers (bootstrap; Student's t below 20 speakers), and paired tests "
        "against the first system by flipping the signs of the speakers' differences: what another choice of speakers could have "
        "given, with these trainings. Utterances of one speaker share a voice, so the intervals tend to be wider."
    )
    header = ("part", "input", "decoding", *measures.system_titles(report).values())
    return Table("Recognition errors, intervals over speakers", header, rows, 3, note, True)


def per_speaker(exp: Path, report: dict, where: measures.Decoding) -> Table:
    """Error rate of every speaker by every system, over all seeds; of many speakers, those with the most words."""
    baseline, *others = titles = measures.system_titles(report)
    counts = {system: _speaker_counts(exp, report, system, where) for system in titles}
    sizes = counts[baseline]
    shown = sorted(sizes, key=lambda speaker: (-sizes[speaker]["words"], speaker))[:SPEAKERS_SHOWN]
    measure = measures.error_measures(measures.result(report, where, baseline))[0]
    rates = {speaker: [_error_rate(counts[system][speaker]) for system in titles] for speaker in sizes}
    rows = [
        cells(speaker, *(str(sizes[speaker][name]) for name in ("utterances", "words")), *system_cells(measure, rates[speaker]))
        for speaker in sorted(shown)
    ]
    sentences = [f"{where.title}."]
    for column, system in enumerate(others, start=1):
        tones = [measures.tone(measure, of_speaker[0], of_speaker[column]) for of_speaker in rates.values()]
        better, worse = tones.count("better"), tones.count("worse")
        sentences.append(f"{titles[system]} is better for {better} and worse for {worse} of {len(rates)} speakers.")
    if len(rates) > SPEAKERS_SHOWN:
        sentences.append(f"Shown: the {SPEAKERS_SHOWN} with the most words.")
    header = ("speaker", "utterances", "words", *titles.values())
    return Table("Errors by speaker", header, rows, note=" ".join(sentences), folded=True)


def _speaker_counts(exp: Path, report: dict, system: str, where: measures.Decoding) -> dict[str, Counter]:
    """Speaker -> utterances, words and errors, summed over seeds."""
    sums: dict[str, Counter] = {}
    for seed in report["seeds"]:
        for item in read_counts(_folder(exp, system, seed, where)).values():
            own = sums.setdefault(item.speaker, Counter())
            own.update(utterances=1, words=item.words.reference, errors=item.words.errors)
    return sums


def _error_rate(counts: Counter) -> float | None:
    """In percent; None for a speaker without a word in the reference."""
    return 100.0 * counts["errors"] / counts["words"] if counts["words"] else None


def confusions(exp: Path, report: dict, where: measures.Decoding) -> Table:
    """The commonest errors of all systems together, and how often each system makes them."""
    counts = {system: Counter() for system in report["systems"]}
    for system in counts:
        for seed in report["seeds"]:
            for words in read_alignments(exp, system, seed, where).values():
                counts[system].update(errors(words))
    rows = []
    for pair, _ in sorted(sum(counts.values(), Counter()).items(), key=lambda entry: (-entry[1], entry[0]))[:CONFUSIONS_SHOWN]:
        words = (NO_WORD if word == NOTHING else word for word in pair)
        rows.append(cells(*words, *(f"{of_system[pair]:,}" for of_system in counts.values())))
    header = ("spoken", "recognised", *measures.system_titles(report).values())
    note = f"{where.title}, all seeds. {NO_WORD}: a word that was added or is missing."
    return Table("Most frequent errors", header, rows, 2, note, True)


def examples(exp: Path, report: dict, where: measures.Decoding) -> Table:
    """Recognised text of the first seed, where the headline's system helps most and where it hurts most."""
    titles, subject = measures.system_titles(report), measures.subject(report) or report["systems"][0]
    texts = {system: read_alignments(exp, system, report["seeds"][0], where) for system in titles}
    before, after = texts[report["systems"][0]], texts[subject]
    ranked = sorted(before, key=lambda name: (len(errors(after[name])) - len(errors(before[name])), name))
    rows = []
    for name in dict.fromkeys([*ranked[:EXAMPLES_SHOWN], *ranked[-EXAMPLES_SHOWN:]]):
        reference = " ".join(spoken for spoken, _, _ in before[name] if spoken != NOTHING)
        rows.append(cells(name, "reference", reference, ""))
        for system, title in titles.items():
            text = " ".join(_mark(*triple) for triple in texts[system][name])
            rows.append(cells("", title, text, str(len(errors(texts[system][name])))))
    note = f"{where.title}, first seed: where {titles[subject]} helps most, and where it hurts most or helps least. "
    note += f"Brackets: [word] is wrong, [{NO_WORD}] is missing, [+word] is added."
    return Table("Recognised text", ("utterance", "system", "text", "errors"), rows, 3, note, True)


def _mark(spoken: str, recognised: str, operation: str) -> str:
    return {"C": recognised, "S": f"[{recognised}]", "D": f"[{NO_WORD}]", "I": f"[+{recognised}]"}[operation]


def errors(alignment: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """(spoken, recognised) of each word that is not correct."""
    return [(spoken, recognised) for spoken, recognised, operation in alignment if operation != "C"]


def read_alignments(exp: Path, system: str, seed: int, where: measures.Decoding) -> dict[str, list[tuple[str, str, str]]]:
    """Utterance -> its words in one decoding, as in Hypothesis.alignment."""
    lines = artifacts.hypotheses(_folder(exp, system, seed, where)).read_text(encoding="utf-8").split("\n")
    records = (line.split("\t") for line in lines if line)
    return {name: Hypothesis(name, "", reference, text).alignment for name, reference, text in records}


def _folder(exp: Path, system: str, seed: int, where: measures.Decoding) -> Path:
    return artifacts.decoding_folder(exp, system, where.input_kind, seed, where.part, where.method)
