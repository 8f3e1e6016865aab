"""Files appear whole or not at all; lines torn by a kill harm nobody; seeds."""

import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.errors import DataError
from spin.runtime.files import append_jsonl, atomic_path, read_json, read_jsonl, sweep, write_json, write_jsonl
from spin.runtime.rejects import Rejects
from spin.runtime.seeding import generator, integer


def test_a_failed_write_keeps_the_old_file_and_an_unreadable_one_is_named(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    with pytest.raises(ValueError):
        write_json(path, {"x": float("nan")})  # JSON has no such number
    assert read_json(path) == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
    path.write_text("{")
    for name in ("a.json", "none.json"):
        with pytest.raises(DataError, match=name):
            read_json(tmp_path / name)


def test_a_killed_write_leaves_only_a_file_that_sweep_removes(tmp_path):
    code = (
        "import os, sys; from spin.runtime.files import atomic_path\n"
        f"with atomic_path({str(tmp_path / 'a.txt')!r}) as t:\n    t.write_text('half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert len(list(tmp_path.glob(".tmp-*"))) == 1 and not (tmp_path / "a.txt").exists()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_append_closes_a_torn_line(tmp_path):
    path = tmp_path / "a.jsonl"
    append_jsonl(path, {"n": 1})
    with open(path, "a") as stream:
        stream.write('{"n": 2')
    append_jsonl(path, {"n": 3})
    assert list(read_jsonl(path)) == [{"n": 1}, {"n": 3}]


@given(st.lists(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.none()))))
def test_compressed_lines_round_trip_to_the_byte(records):
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "1.jsonl.gz", Path(folder) / "2.jsonl.gz"
        assert write_jsonl(one, records) == len(records)
        write_jsonl(two, iter(records))
        with gzip.open(one, "rt", encoding="utf-8") as stream:
            assert [json.loads(line) for line in stream] == records
        assert one.read_bytes() == two.read_bytes()


def test_seeds_depend_on_every_key_its_kind_and_order():
    keys = [(0, 1, "a"), (0, 1, "b"), (1, 0, "a"), (0, "1", "a"), (0, 1), (0, 1, "a", 0), ("0\x1fi1", "a")]
    draws = [integer(*own) for own in keys]
    assert len(set(draws)) == len(draws) and all(0 <= draw < 2**63 for draw in draws)
    assert integer(0, 1, "a") == 786116968842308246  # pinned: a changed value would change every published result
    assert generator(3, "x").random() == generator(np.int64(3), "x").random()
    for key in (1.0, True, None, b"a"):
        with pytest.raises(TypeError, match="seed key"):
            integer(key)


def test_no_utterance_at_all_is_an_error(tmp_path):
    """Shares that are too large: tests/faults/test_bad_corpora.py."""
    with pytest.raises(DataError, match="no utterance at all"):
        Rejects(tmp_path / "none.jsonl", 1).check_share(0, 0.1)
