"""Files appear whole or not at all; lines torn by a kill harm nobody."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin import artifacts
from spin.errors import DataError, LockedError
from spin.runtime.files import append_jsonl, atomic_path, read_json, read_jsonl, sweep, write_json, write_jsonl
from spin.runtime.locks import folder_lock
from spin.runtime.rejects import Rejects
from spin.runtime.seeding import generator, integer
from spin.runtime.workers import chunks, map_jobs


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_killed_write_leaves_only_a_file_that_sweep_removes(tmp_path):
    code = (
        "import os, sys; from spin.runtime.files import atomic_path\n"
        f"with atomic_path({str(tmp_path / 'a.txt')!r}) as t:\n    t.write_text('half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert not (tmp_path / "a.txt").exists()
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_not_a_number_is_no_json(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_unreadable_json_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    for name in ("a.json", "none.json"):
        with pytest.raises(DataError, match=name):
            read_json(tmp_path / name)


def test_append_closes_a_torn_line(tmp_path):
    path = tmp_path / "a.jsonl"
    append_jsonl(path, {"n": 1})
    with open(path, "a") as stream:
        stream.write('{"n": 2')
    append_jsonl(path, {"n": 3})
    assert list(read_jsonl(path)) == [{"n": 1}, {"n": 3}]


@given(st.lists(st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.none()))))
def test_compressed_lines_round_trip_to_the_byte(records):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "1.jsonl.gz", Path(folder) / "2.jsonl.gz"
        assert write_jsonl(one, records) == len(records)
        write_jsonl(two, iter(records))
        assert list(read_jsonl(one)) == records
        assert one.read_bytes() == two.read_bytes()


def test_seeds_depend_on_every_key_its_kind_and_order():
    draws = [
        integer(*keys)
        for keys in [(0, 1, "a"), (0, 1, "b"), (1, 0, "a"), (0, "1", "a"), (0, 1), (0, 1, "a", 0), ("0\x1fi1", "a")]
    ]
    assert len(set(draws)) == len(draws)
    assert all(0 <= draw < 2**63 for draw in draws)
    assert integer(0, 1, "a") == 786116968842308246  # pinned: a changed value would change every published result
    assert generator(3, "x").random() == generator(np.int64(3), "x").random()


@pytest.mark.parametrize("key", [1.0, True, None, b"a"])
def test_seeds_refuse_keys_without_stable_text(key):
    with pytest.raises(TypeError, match="seed key"):
        integer(key)


def test_second_run_in_a_folder_is_told_who_is_first(tmp_path):
    code = (
        "import sys, time; from spin.runtime.locks import folder_lock\n"
        f"with folder_lock({str(tmp_path)!r}):\n    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline().strip() == "held"
        with pytest.raises(LockedError, match=f"process {first.pid} on"), folder_lock(tmp_path):
            pass
        first.kill()
    with folder_lock(tmp_path):  # a dead holder holds nothing
        pass


def test_rejects_name_count_and_stop(tmp_path):
    rejects = Rejects(tmp_path / "rejects.jsonl", 1)
    rejects.add("u2", "dev", "unreadable: bad header")
    rejects.add("u1", "dev", "unreadable: empty")
    rejects.check_share(total=20, max_share=0.1)
    with pytest.raises(DataError, match=r"2 of 10[\s\S]*2 x unreadable[\s\S]*u2"):
        rejects.check_share(total=10, max_share=0.1)
    assert [record[artifacts.REJECT_ID] for record in read_jsonl(tmp_path / "rejects.jsonl")] == ["u1", "u2"]
    with pytest.raises(DataError, match="no utterance at all"):
        Rejects(tmp_path / "none.jsonl", 1).check_share(0, 0.1)


def double(number: int) -> int:
    if number == 13:
        raise DataError("thirteen", found="bad luck")
    return 2 * number


@pytest.mark.parametrize("nj", [1, 2])
def test_workers_keep_the_order_and_pass_errors_on(nj):
    assert list(map_jobs(double, range(5), nj)) == [0, 2, 4, 6, 8]
    with pytest.raises(DataError, match="bad luck"):
        list(map_jobs(double, [1, 13, 2], nj))


@given(st.lists(st.integers()), st.integers(1, 9))
def test_chunks_cut_evenly_and_lose_nothing(items, count):
    parts = chunks(items, count)
    assert [item for part in parts for item in part] == items
    sizes = [len(part) for part in parts]
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
