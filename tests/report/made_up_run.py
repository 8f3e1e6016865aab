"""A made-up experiment: small, the same every time, and shaped like the files of a real run."""

from pathlib import Path

import numpy as np
from lhotse import MonoCut, SupervisionSegment
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.asr.scoring import Hypothesis, write_decoding
from spin.config import Config
from spin.report import pictures
from spin.report.measures import Decoding, primary, system_titles
from spin.report.tables import all_tables
from spin.report.write_report import build_report, plot_all
from spin.runtime.logs import get_logger
from spin.runtime.product import Context

PHONES = ["SIL", "AA", "AE", "IY", "UW", "B", "D", "K", "M", "N", "S", "SH", "R", "W", "HH"]
K = 24
SYSTEMS = ("baseline", "spin", "fbank", "hubert_256", "r_spin")
COMMAND = "./run.sh --conf conf/mini.yaml --stage 0 --stop-stage 5"
SENTENCES = (  # id, speaker, reference, hypotheses of even and odd systems
    ("a1", "ann", "THE OLD MAN SAW A BOAT", ("THE OLD MEN SAW BOAT", "THE OLD MAN SAW A BOAT")),
    ("a2", "bob", "SHE SINGS", ("SHE SINGS", "SHE SINGS")),
    ("a3", "ann", "NO BIRD FLIES BY NIGHT", ("NO BIRD FLIES BY NIGHT", "NO BIRD FLY BY THE NIGHT")),
    ("a4", "bob", "GREEN IS THE HILL", ("GREEN THE HALL", "GREEN THE HALL")),
)


def result(errors: int) -> dict:
    """The error rates of a decoding of 1,000 words."""
    wer = errors / 10
    return {"wer": wer, "cer": 30.0, "ci95": [max(0.0, wer - 1.5), wer + 1.5], "words": 1000, "errors": errors}


def scores(errors: dict[str, dict[str, int]]) -> dict:
    """scores.json from the errors of each system by each method in one part; the first is the baseline."""
    baseline, *others = errors

    def gain(before, after):
        return {"relative_wer_reduction": 100 * (before - after) / before, "p_value": 0.001}

    methods = errors[baseline]
    return {
        "asr": {name: {"test": {method: result(errors[name][method]) for method in methods}} for name in errors},
        "gain": {name: {"test": {method: gain(methods[method], errors[name][method]) for method in methods}} for name in others},
    }


def metrics(index: int) -> dict:
    """metrics.json of the system at that place."""
    units = {
        "K": K, "pnmi": 0.409 + 0.017 * index, "phone_purity": 0.51 + 0.02 * index, "cluster_purity": 0.2 - 0.01 * index,
        "abx_within": 14.2 - index, "abx_across": 22.3 - 2 * index, "bitrate": 190.5, "perplexity": 22.5,
        "boundary_r_value": -0.3, "speaker_accuracy_of_features": 0.98 - 0.02 * index, "speaker_chance": 0.033,
    }  # fmt: skip
    return {"units": units, "parts": {"test": {"K": K, "pnmi": units["pnmi"], "unit_edit_distance": 12.5}}}


def phone_counts(index: int) -> tuple[list[str], np.ndarray]:
    """(phones, (P, K) frames of each phone and unit); the last unit is never used."""
    table = np.random.default_rng(index).gamma(0.4, 30.0, (len(PHONES), K))
    table[np.arange(K) % len(PHONES), np.arange(K)] += 200 + 300 * index
    table[:, -1] = 0
    return PHONES, table.astype(np.int64)


def write_decodings(exp: Path, systems, where: Decoding, sentences=SENTENCES, seeds=(0,)) -> None:
    """The files of every decoding; systems take turns with the hypotheses of a sentence."""
    for column, system in enumerate(systems):
        spoken = [Hypothesis(*reference, texts[column % len(texts)]) for *reference, texts in sentences]
        for seed in seeds:
            write_decoding(artifacts.decoding_folder(exp, system, where.input_kind, seed, where.part, where.method), spoken, {})


def plain(text: str) -> str:
    """With spaces that may break."""
    return text.replace("\u00a0", " ")


def shown(row) -> list[str]:
    return [plain(f"{cell.text} | {cell.below}").removesuffix(" | ") for cell in row]


def make_context(exp: Path, config: Config) -> Context:
    return Context(config, exp, exp.parent / "data", 5, get_logger("test"), COMMAND)


def make_report(exp: Path, config: Config, systems=("baseline", "spin")) -> dict:
    """The report of a run of these systems, whose decodings are in `exp`."""
    errors = {name: {"ctc_1best": 780 - 78 * index, "hlg": 412 - 51 * index} for index, name in enumerate(systems)}
    content = {name: metrics(index) for index, name in enumerate(systems)}
    report = build_report(make_context(exp, config), content, scores(errors), {"stage0": 10.5, "stage3": 42.0})
    write_decodings(exp, systems, primary(report))
    return report


def make_material(exp: Path, config: Config, systems=("baseline", "spin")) -> tuple[dict, dict, dict]:
    """Report, pictures and tables of a run of these systems."""
    report = make_report(exp, config, systems)
    recognisers = {
        name: [[{"step": 100 * step, "loss": 3.0 / step - 0.1 * index, "valid_wer": 95.0 - 6 * step} for step in range(1, 8)]]
        for index, name in enumerate(systems)
    }
    spin = [{"step": 50 * step, "loss": 5 - 0.4 * step, "pnmi": 0.4, "perplexity": 23 - 0.1 * step} for step in range(6)]
    histories = {"training": {"spin": [spin]}, "features": recognisers}
    counts = {name: phone_counts(index) for index, name in enumerate(systems)}
    phones = [AlignmentItem("AA", 0.0, 0.2), AlignmentItem("S", 0.2, 0.3)]
    spoken = SupervisionSegment("utt", "utt", 0.0, 0.5, text="A <TEST>", alignment={artifacts.PHONE_TIER: phones})
    audio = np.random.default_rng(0).normal(size=8000)
    units = {title: [3, 3, 1, index] for index, title in enumerate(system_titles(report).values())}
    utterance = pictures.utterance("utterance_0", MonoCut("utt", 0.0, 0.5, 0, [spoken]), audio, units)
    return report, plot_all(report, histories, counts, [utterance]), all_tables(exp, report)
