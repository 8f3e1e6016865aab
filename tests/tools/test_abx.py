"""python -m spin abx: item files against the slow oracle, sources of features, conditions, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse import MonoCut, Recording
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.__main__ import main as spin
from spin.corpus.abx_item import Item, items_of, write_items
from spin.data.cuts import write_cuts
from spin.data.store import ArrayWriter
from spin.errors import DataError
from spin.runtime.files import write_jsonl
from spin.tools.abx import main, on_frames
from spin.units.abx import abx
from spin.units.abx_design import Triphone, design, triphones
from tests.units.test_abx import angle, one_hot, slow_abx

RATE = 50


def hand_made(folder: Path, seed: int = 0) -> tuple[list[Item], dict[str, np.ndarray]]:
    """24 items of 3 phones, 2 contexts and 3 speakers in 6 files of 2 s, and their features (100, 4), as .npy files."""
    random = np.random.default_rng(seed)
    items = []
    for number in range(24):
        file = number % 6
        onset = round(float(random.uniform(0, 1.8)), 4)
        offset = round(onset + float(random.uniform(0.03, 0.15)), 4)
        items.append(Item(f"f{file}", onset, offset, "ABC"[random.integers(3)], "xy"[random.integers(2)], "z", f"s{file // 2}"))
    features = {f"f{file}": random.normal(size=(100, 4)).astype(np.float32) for file in range(6)}
    for name, values in features.items():
        np.save(folder / f"{name}.npy", values)
    write_items(folder / "hand.item", items)
    return items, features


def run(capsys, folder: Path, *words) -> dict:
    main([str(word) for word in ("--item", folder / "hand.item", "--max-group", 99, "--json", *words)])
    return json.loads(capsys.readouterr().out)


def inside(item: Item, frames: int, rate: float) -> list[int]:
    """By the definition: every frame whose middle lies in the item."""
    return [i for i in range(frames) if item.onset - 1e-9 <= (i + 0.5) / rate <= item.offset + 1e-9]


def cut(items: list[Item], context: str) -> list[Triphone]:
    found = []
    for item in items:
        frames, neighbours = inside(item, 100, RATE), (item.before, item.after) if context == "within" else ("", "")
        if frames:
            found.append(Triphone(item.file, item.speaker, frames[0], len(frames), neighbours[0], item.phone, neighbours[1]))
    return found


@pytest.mark.parametrize("context", ["within", "any"])
def test_features_equal_the_slow_oracle(tmp_path: Path, capsys, context: str):
    items, features = hand_made(tmp_path)
    result = run(capsys, tmp_path, "--features", tmp_path, "--context", context, "--nj", 2)
    found = cut(items, context)
    assert result["within"] == pytest.approx(slow_abx(found, features.__getitem__, angle, False), abs=1e-6)
    assert result["across"] == pytest.approx(slow_abx(found, features.__getitem__, angle, True), abs=1e-6)
    assert result["items"] == 24 and result["items_without_frame"] == 24 - len(found)


@pytest.mark.parametrize(
    ("context", "one_hot", "within", "across"),
    [
        ("within", False, 68.05555462837219, 36.49691392978032),
        ("any", False, 62.57716168959936, 52.771990497907005),
        ("within", True, 56.805555820465095, 54.28240696589152),
        ("any", True, 41.73611203829448, 61.33969922860464),
    ],
)
def test_equals_fastabx(tmp_path: Path, capsys, context: str, one_hot: bool, within: float, across: float):
    """What fastabx 0.9.0 says (zerospeech_abx, angular or identical, no sampling), in single precision."""
    _, features = hand_made(tmp_path, 2)
    if one_hot:
        for name, values in features.items():
            np.save(tmp_path / f"{name}.npy", (np.abs(values[:, :1]) * 2).astype(int))
    result = run(capsys, tmp_path, "--features", tmp_path, "--context", context, *(["--one-hot"] if one_hot else []))
    assert (result["within"], result["across"]) == pytest.approx((within, across), abs=1e-4)


def test_units_equal_the_slow_oracle_in_every_form(tmp_path: Path, capsys):
    """As (T,) and (T, 1) integers, units.jsonl, and one-hot features, because the angle between two codes is a right one."""
    items, _ = hand_made(tmp_path, 1)
    random = np.random.default_rng(1)
    units = {f"f{file}": random.integers(0, 4, 100) for file in range(6)}
    lines, found = tmp_path / "units.jsonl", cut(items, "within")
    write_jsonl(lines, ({"id": name, "units": values.tolist()} for name, values in units.items()))
    expected = [slow_abx(found, units.__getitem__, one_hot, across) for across in (False, True)]
    for form in (lambda values: values, lambda values: values[:, None], lambda values: np.eye(4)[values], None):
        for name, values in units.items() if form else ():
            np.save(tmp_path / f"{name}.npy", form(values))
        is_features = form is not None and form(np.zeros(1, int)).shape == (1, 4)
        words = ["--features", tmp_path if form else lines, *([] if is_features or not form else ["--one-hot"])]
        result = run(capsys, tmp_path, *words)
        assert [result["within"], result["across"]] == pytest.approx(expected, abs=1e-6)
        assert result["one_hot"] is not is_features


def test_alignment_and_its_item_file_are_one_test():
    """At 50 frames a second: the triphones of stage 3 are the items of the item file."""
    random = np.random.default_rng(3)
    edges = np.round(np.cumsum(random.integers(3, 12, 40)) * 0.01, 2)
    alignment = [
        AlignmentItem("ABC"[random.integers(3)], float(start), round(float(end - start), 2))
        for start, end in zip(edges, edges[1:], strict=False)
    ]
    direct = list(triphones("u", "s", alignment, 250))
    assert direct and direct == list(on_frames(items_of("u", "s", alignment), lambda file: range(250), RATE, "within"))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1800), st.integers(1, 300), st.sampled_from([50.0, 100.0, 33.3, 75.0]), st.booleans())
def test_frames_are_those_whose_middle_is_inside(onset: int, length: int, rate: float, libri_light: bool):
    item, frames = Item("u", onset / 1000, (onset + length) / 1000, "B", "a", "c", "s"), int(4 * rate)
    expected = inside(item, frames, rate)[: -1 if libri_light else None]
    found = list(on_frames([item], lambda file: range(frames), rate, "within", libri_light))
    assert [(one.first, one.frames) for one in found] == ([(expected[0], len(expected))] if expected else [])


def test_stage_3_manifest(tmp_path: Path, capsys):
    random, features, cuts = np.random.default_rng(5), {}, []
    with ArrayWriter(tmp_path, "arrays") as writer:
        for name in ("u", "v"):
            features[name] = random.normal(size=(49, 4)).astype(np.float16)
            arrays = {artifacts.HIDDEN_FIELD: features[name], artifacts.UNITS_FIELD: np.zeros(49, np.int32)}
            recording = Recording(name, [], artifacts.SAMPLE_RATE, artifacts.SAMPLE_RATE, 1.0)
            cuts.append(MonoCut(name, 0, 1.0, 0, recording=recording))
            cuts[-1].custom = {key: writer.write(name, array, artifacts.FRAME_SHIFT_IN_S) for key, array in arrays.items()}
    write_cuts(tmp_path / "cuts.jsonl.gz", cuts)
    items = [Item(name, 0.1 * i, 0.1 * i + 0.1, "AB"[i % 2], "x", "y", "s") for name in features for i in range(6)]
    write_items(tmp_path / "hand.item", items)
    words = ["--features", tmp_path / "cuts.jsonl.gz"]
    result, found = run(capsys, tmp_path, *words), list(on_frames(items, features.__getitem__, RATE, "within"))
    assert result["within"] == pytest.approx(abx(design(found), features.__getitem__).within) and result["across"] is None
    assert run(capsys, tmp_path, *words, "--one-hot")["within"] == 50.0  # all units are 0


def test_text_and_chance(tmp_path: Path, capsys):
    """Units that are all alike tell nothing: 50 %."""
    hand_made(tmp_path)
    lines = tmp_path / "same.jsonl"
    write_jsonl(lines, ({"id": f"f{file}", "units": [7] * 100} for file in range(6)))
    assert spin(["abx", "--features", str(lines), "--item", str(tmp_path / "hand.item")]) == 0
    out = capsys.readouterr().out
    assert "within speakers: 50.00 %" in out and "across speakers: 50.00 %" in out and "24 items" in out


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((100, 4), complex), [], "complex128"),
        (np.zeros((0, 4)), [], r"of shape \(0, 4\)"),
        (np.float32(1.0), [], r"of shape \(\)"),
        (np.zeros(100, int), [], "--one-hot"),
        (np.full((100, 4), np.nan), [], "not finite"),
        (np.zeros((100, 4)), ["--one-hot"], "whole numbers"),
        (np.full(100, 0.5), ["--one-hot"], "whole numbers"),
        (np.full(100, -1), ["--one-hot"], "whole numbers"),
        (np.zeros((100, 5)), [], "5 dimensions|4 dimensions"),
        (np.zeros((100, 4)), ["--frame-rate", "500"], "--frame-rate"),
        (b"\x93NUMPY", [], r"f3\.npy"),
        (b"", [], r"f3\.npy"),
        (None, [], r"f3\.npy\n.*No such file"),
    ],
)
def test_bad_features_are_named(tmp_path: Path, values, options: list[str], message: str):
    hand_made(tmp_path)
    if "--one-hot" in options:
        for file in range(6):
            np.save(tmp_path / f"f{file}.npy", np.zeros(100, int))
    (tmp_path / "f3.npy").unlink()
    if isinstance(values, bytes):
        (tmp_path / "f3.npy").write_bytes(values)
    elif values is not None:
        np.save(tmp_path / "f3.npy", values)
    with pytest.raises(DataError, match=message):
        main(["--features", str(tmp_path), "--item", str(tmp_path / "hand.item"), *options])


@pytest.mark.parametrize("name", ["absent", "absent.jsonl", "empty.jsonl", "hand.item"])
def test_a_source_that_is_none_is_named(tmp_path: Path, name: str):
    hand_made(tmp_path)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match=f"{name}\n.*no such folder"):
        main(["--item", str(tmp_path / "hand.item"), "--features", str(tmp_path / name)])


def test_nothing_to_compare_and_a_file_without_units(tmp_path: Path):
    hand_made(tmp_path)
    write_items(tmp_path / "one.item", [Item("f0", 0.1, 0.2, "A", "x", "y", "s"), Item("f0", 0.3, 0.4, "A", "x", "y", "s")])
    with pytest.raises(DataError, match="nothing to compare"):
        main(["--features", str(tmp_path), "--item", str(tmp_path / "one.item")])
    write_jsonl(tmp_path / "other.jsonl", [{"id": "other", "units": [1]}])
    with pytest.raises(DataError, match="no f0"):
        main(["--features", str(tmp_path / "other.jsonl"), "--item", str(tmp_path / "one.item")])


@pytest.mark.parametrize("option", [["--nj", "0"], ["--frame-rate", "nan"], ["--max-group", "1"], ["--context", "other"]])
def test_wrong_usage(option: list[str]):
    with pytest.raises(SystemExit):
        main(["--features", "x", "--item", "y", *option])
