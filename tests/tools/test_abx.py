"""python -m spin abx: item files against the slow oracle, sources of features, conditions, bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.__main__ import main as spin
from spin.corpus.abx_item import Item, items_of, write_items
from spin.data.cuts import write_cuts
from spin.data.store import ArrayWriter
from spin.errors import DataError
from spin.runtime.files import write_jsonl
from spin.tools.abx import main, on_frames
from spin.tools.abx_features import ArrayFolder
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


def run(capsys, *words) -> dict:
    main([str(word) for word in (*words, "--json")])
    return json.loads(capsys.readouterr().out)


def cut(items: list[Item], context: str) -> list[Triphone]:
    """By the definition: every frame whose middle lies in the item."""
    found = []
    for item in items:
        inside = [i for i in range(100) if item.onset <= (i + 0.5) / RATE <= item.offset]
        if inside:
            neighbours = (item.before, item.after) if context == "within" else ("", "")
            found.append(Triphone(item.file, item.speaker, inside[0], len(inside), neighbours[0], item.phone, neighbours[1]))
    return found


@pytest.mark.parametrize("context", ["within", "any"])
def test_features_equal_the_slow_oracle(tmp_path: Path, capsys, context: str):
    items, features = hand_made(tmp_path)
    options = ("--features", tmp_path, "--item", tmp_path / "hand.item", "--context", context, "--max-group", 99, "--nj", 2)
    result = run(capsys, *options)
    triphone_items = cut(items, context)
    assert result["within"] == pytest.approx(slow_abx(triphone_items, features.__getitem__, angle, False), abs=1e-6)
    assert result["across"] == pytest.approx(slow_abx(triphone_items, features.__getitem__, angle, True), abs=1e-6)
    assert result["items"] == 24 and result["items_without_frame"] == 24 - len(triphone_items)
    only = run(capsys, *options, "--speaker", "across")
    assert (only["within"], only["within_cells"], only["across"]) == (None, 0, result["across"])


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
    options = ["--item", tmp_path / "hand.item", "--context", context, "--max-group", 99, *(["--one-hot"] if one_hot else [])]
    result = run(capsys, "--features", tmp_path, *options)
    assert result["within"] == pytest.approx(within, abs=1e-4)
    assert result["across"] == pytest.approx(across, abs=1e-4)


def test_units_equal_the_slow_oracle_in_every_form(tmp_path: Path, capsys):
    items, _ = hand_made(tmp_path, 1)
    random = np.random.default_rng(1)
    units = {f"f{file}": random.integers(0, 4, 100) for file in range(6)}
    folders = {name: tmp_path / name for name in ("flat", "rows", "tensors")}
    for folder in folders.values():
        folder.mkdir()
    for name, values in units.items():
        np.save(folders["flat"] / f"{name}.npy", values)
        np.savez(folders["rows"] / f"{name}.npz", other=values, units=np.eye(4)[values])
        torch.save(torch.from_numpy(values)[:, None], folders["tensors"] / f"{name}.pt")
    lines = tmp_path / "units.jsonl"
    write_jsonl(lines, ({"id": name, "units": values.tolist()} for name, values in units.items()))
    options = ("--item", tmp_path / "hand.item", "--one-hot", "--max-group", 99, "--features")
    results = [run(capsys, *options, folders[name], "--key", "units") for name in ("rows",)]
    results += [run(capsys, *options, folder) for folder in (folders["flat"], folders["tensors"], lines)]
    triphone_items = cut(items, "within")
    for result in results:
        assert result["one_hot"]
        assert result["within"] == pytest.approx(slow_abx(triphone_items, units.__getitem__, one_hot, False), abs=1e-6)
        assert result["across"] == pytest.approx(slow_abx(triphone_items, units.__getitem__, one_hot, True), abs=1e-6)
    # One-hot rows as features: the angle between different ones is a right one, so that nothing changes.
    angles = run(capsys, "--item", tmp_path / "hand.item", "--max-group", 99, "--features", folders["rows"], "--key", "units")
    assert (angles["within"], angles["across"]) == (results[0]["within"], results[0]["across"]) and not angles["one_hot"]


def test_alignment_and_its_item_file_are_one_test():
    """At 50 frames a second: the triphones of stage 3 are the items of the item file."""
    random = np.random.default_rng(3)
    edges = np.round(np.cumsum(random.integers(3, 12, 40)) * 0.01, 2)
    alignment = [
        AlignmentItem("ABC"[random.integers(3)], float(start), round(float(end - start), 2))
        for start, end in zip(edges, edges[1:], strict=False)
    ]
    direct = list(triphones("u", "s", alignment, 250))
    assert direct and direct == list(on_frames(items_of("u", "s", alignment), lambda file: 250, RATE, "within"))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1800), st.integers(1, 300), st.sampled_from([50.0, 100.0, 33.3, 75.0]))
def test_frames_are_those_whose_middle_is_inside(onset: int, length: int, rate: float):
    item = Item("u", onset / 1000, (onset + length) / 1000, "B", "a", "c", "s")
    frames = int(2 * rate)
    inside = [i for i in range(frames) if item.onset - 1e-9 <= (i + 0.5) / rate <= item.offset + 1e-9]
    found = list(on_frames([item], lambda file: frames, rate, "within"))
    assert [(one.first, one.frames) for one in found] == ([(inside[0], len(inside))] if inside else [])
    shorter = list(on_frames([item], lambda file: 2 * frames, rate, "within", libri_light=True))
    inside = [i for i in range(2 * frames) if item.onset - 1e-9 <= (i + 0.5) / rate <= item.offset + 1e-9][:-1]
    assert [(one.first, one.frames) for one in shorter] == ([(inside[0], len(inside))] if inside else [])


def test_stage_3_manifest(tmp_path: Path, capsys, stage_3_manifest):
    manifest, features = stage_3_manifest
    items = [Item(name, 0.1 * i, 0.1 * i + 0.1, "AB"[i % 2], "x", "y", "s") for name in features for i in range(6)]
    write_items(tmp_path / "m.item", items)
    result = run(capsys, "--features", manifest, "--item", tmp_path / "m.item")
    found = list(on_frames(items, lambda name: len(features[name]), RATE, "within"))
    assert result["within"] == pytest.approx(abx(design(found), features.__getitem__).within) and result["across"] is None
    assert run(capsys, "--features", manifest, "--item", tmp_path / "m.item", "--one-hot")["within"] == 50.0  # all units are 0


@pytest.fixture
def stage_3_manifest(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    from lhotse import MonoCut, Recording

    random = np.random.default_rng(5)
    features, cuts = {}, []
    with ArrayWriter(tmp_path, "arrays") as writer:
        for name in ("u", "v"):
            recording = Recording(name, [], artifacts.SAMPLE_RATE, artifacts.SAMPLE_RATE, 1.0)
            features[name] = random.normal(size=(49, 4)).astype(np.float16)
            arrays = {artifacts.HIDDEN_FIELD: features[name], artifacts.UNITS_FIELD: np.zeros(49, np.int32)}
            cut = MonoCut(name, 0, 1.0, 0, recording=recording)
            cut.custom = {field: writer.write(name, array, artifacts.FRAME_SHIFT_IN_S) for field, array in arrays.items()}
            cuts.append(cut)
    write_cuts(tmp_path / "cuts.jsonl.gz", cuts)
    return tmp_path / "cuts.jsonl.gz", features


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
        (np.zeros((0, 4)), [], r"features that end at 0\.00"),
        (np.float32(1.0), [], r"of shape \(\)"),
        (np.zeros(100, int), [], "--one-hot"),
        (np.full((100, 4), np.nan), [], "not finite"),
        (np.zeros((100, 4)), ["--one-hot"], "not one-hot"),
        (np.full(100, 0.5), ["--one-hot"], "whole numbers"),
        (np.full(100, -1), ["--one-hot"], "whole numbers"),
        (np.zeros((100, 5)), [], "5 dimensions|4 dimensions"),
        (np.zeros((100, 4)), ["--frame-rate", "500"], "--frame-rate"),
    ],
)
def test_bad_features_are_named(tmp_path: Path, values: np.ndarray, options: list[str], message: str):
    hand_made(tmp_path)
    if "--one-hot" in options:
        for file in range(6):
            np.save(tmp_path / f"f{file}.npy", np.zeros(100, int))
    np.save(tmp_path / "f3.npy", values)
    with pytest.raises(DataError, match=message):
        main(["--features", str(tmp_path), "--item", str(tmp_path / "hand.item"), *options])


def test_bad_files_are_named(tmp_path: Path):
    hand_made(tmp_path)
    words = ["--item", str(tmp_path / "hand.item"), "--features"]
    for name, message in (("absent", "no such folder"), ("absent.jsonl", "no such file")):
        with pytest.raises(DataError, match=message):
            main([*words, str(tmp_path / name)])
    folder = ArrayFolder(tmp_path)
    for name, content in (("cut.npy", b"\x93NUMPY"), ("cut.npz", b"PK"), ("cut.pt", b""), ("bad.pt", b"no tensor at all")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"cut|bad"):
            ArrayFolder(tmp_path).frames(name[:3])
        (tmp_path / name).unlink()
    torch.save({"a": torch.zeros(3, 2), "b": torch.zeros(3, 2)}, tmp_path / "two.pt")
    with pytest.raises(DataError, match="--key"):
        folder.frames("two")
    assert ArrayFolder(tmp_path, key="b").frames("two") == 3
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(DataError, match="a list"):
        folder.frames("list")
    np.save(tmp_path / "two.npy", np.zeros((3, 2)))
    with pytest.raises(DataError, match=r"two\.npy two\.pt"):
        folder.frames("two")
    (tmp_path / "f5.npy").unlink()
    with pytest.raises(DataError, match="f5"):
        main([*words, str(tmp_path)])


def test_nothing_to_compare(tmp_path: Path):
    hand_made(tmp_path)
    write_items(tmp_path / "one.item", [Item("f0", 0.1, 0.2, "A", "x", "y", "s"), Item("f0", 0.3, 0.4, "A", "x", "y", "s")])
    with pytest.raises(DataError, match="nothing to compare"):
        main(["--features", str(tmp_path), "--item", str(tmp_path / "one.item")])


@pytest.mark.parametrize("option", [["--nj", "0"], ["--frame-rate", "nan"], ["--max-group", "1"], ["--context", "other"]])
def test_wrong_usage(option: list[str]):
    with pytest.raises(SystemExit):
        main(["--features", "x", "--item", "y", *option])
