"""Arrays come back bit by bit, from any folder that their manifest is copied to; damage is named."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spin.data.cuts import count_cuts, read_cuts, read_records, write_cuts
from spin.data.store import ArrayWriter, load_array
from spin.errors import DataError
from tests.data.synthetic import write_corpus

TYPES = st.sampled_from([np.float16, np.float32, np.float64, np.int16, np.int32, np.int64, np.bool_])


@given(hnp.arrays(TYPES, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7)), st.booleans())
def test_arrays_come_back_bit_by_bit(tmp_path_factory, array, compress):
    folder = tmp_path_factory.mktemp("store")
    with ArrayWriter(folder, "arrays", compress) as writer:
        stored = [writer.write("x", one) for one in (array, array.T)]
    for expected, one in zip((array, array.T), stored):
        loaded = one.with_path_prefix(folder).load()
        assert loaded.dtype == expected.dtype and loaded.shape == expected.shape == tuple(one.shape)
        assert loaded.tobytes() == np.ascontiguousarray(expected).tobytes() and loaded.flags.writeable


def test_compression_pays_for_repetitive_numbers_and_only_numbers_are_stored(tmp_path):
    array = np.arange(10_000, dtype=np.float64)
    with ArrayWriter(tmp_path, "arrays", compress=True) as writer, pytest.raises(ValueError, match="u1"):
        writer.write("x", array)
        writer.write("u1", np.array(["a"]))
    assert writer.path.stat().st_size < 0.2 * array.nbytes


@pytest.fixture
def manifest(tmp_path):
    """Three cuts with a temporal array each, in a folder of their own."""
    cuts = list(read_cuts(write_corpus(tmp_path, "u", [1.0] * 3, pitch_name=False)))
    with ArrayWriter(tmp_path / "one", "arrays") as writer:
        for index, cut in enumerate(cuts):
            cut.custom = {"hidden": writer.write(cut.id, np.full((4, 2), index, np.float16), 0.02), "note": {"kind": "x"}}
    assert write_cuts(tmp_path / "one" / "cuts.jsonl.gz", iter(cuts)) == 3
    return tmp_path / "one" / "cuts.jsonl.gz"


def test_a_copied_or_renamed_folder_reads_its_own_arrays(manifest, tmp_path):
    shutil.copytree(manifest.parent, tmp_path / "two")
    manifest.parent.rename(tmp_path / "three")
    for name in ("two", "three"):
        for index, cut in enumerate(read_cuts(tmp_path / name / "cuts.jsonl.gz")):
            assert (load_array(cut, "hidden") == index).all()
            assert cut.custom["hidden"].array.storage_path.startswith(str(tmp_path / name))
            assert cut.load_hidden().shape == (4, 2)  # lhotse's own way


def test_cuts_written_elsewhere_name_the_same_arrays(manifest, tmp_path):
    write_cuts(tmp_path / "deep" / "er" / "cuts.jsonl", read_cuts(manifest))
    (tmp_path / "deep" / "er").rename(tmp_path / "deep" / "renamed")
    assert "../../one/arrays.bin" in (tmp_path / "deep" / "renamed" / "cuts.jsonl").read_text()
    assert [load_array(cut, "hidden")[0, 0] for cut in read_cuts(tmp_path / "deep" / "renamed" / "cuts.jsonl")] == [0, 1, 2]


def test_any_range_of_a_manifest_and_the_same_bytes_for_the_same_cuts(manifest):
    write_cuts(manifest.parent / "again.jsonl.gz", read_cuts(manifest))
    assert (manifest.parent / "again.jsonl.gz").read_bytes() == manifest.read_bytes()
    whole = [cut.id for cut in read_cuts(manifest)]
    assert count_cuts(manifest) == 3 and whole == ["u-0000", "u-0001", "u-0002"]
    for first, last in ((0, None), (1, None), (1, 2), (0, 2), (3, None), (2, 99)):
        assert [cut.id for cut in read_cuts(manifest, first, last)] == whole[first:last]
        assert [record["id"] for record in read_records(manifest, first, last)] == whole[first:last]


@pytest.mark.parametrize("read", [count_cuts, lambda path: list(read_cuts(path))])
def test_damaged_and_missing_manifests_name_themselves(manifest, read):
    truncated = manifest.read_bytes()[:-12]
    for content, message in ((truncated, "expected: a complete manifest"), (b"", "0 bytes"), (b"\x1f\x8bxx", "cuts.jsonl.gz")):
        manifest.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read(manifest)
    manifest.unlink()
    with pytest.raises(DataError, match="no such file"):
        read(manifest)


@pytest.mark.parametrize("line", ["{", "[1]", "3", '{"id": "u"}', '{"id": "r", "sources": [], "sampling_rate": 1}', "\xff"])
def test_a_line_that_is_no_cut_is_named_by_its_number(manifest, tmp_path, line):
    write_cuts(tmp_path / "cuts.jsonl", read_cuts(manifest))
    with open(tmp_path / "cuts.jsonl", "a", encoding="latin-1") as stream:
        stream.write(line + "\n")
    with pytest.raises(DataError, match="(?s)cuts.jsonl, line 4.*correct the line, or, if the recipe wrote it, ./run.sh"):
        list(read_cuts(tmp_path / "cuts.jsonl"))


@pytest.mark.parametrize("compress", [False, True])
def test_damaged_and_missing_arrays_are_explained(manifest, tmp_path, compress):
    with ArrayWriter(tmp_path, "arrays", compress) as writer:
        array = writer.write("x", np.random.default_rng(0).normal(size=100)).with_path_prefix(tmp_path)
    for length in (50, 0):
        writer.path.write_bytes(writer.path.read_bytes()[:length])
        with pytest.raises(DataError, match="damaged"):
            array.load()
    writer.path.unlink()
    with pytest.raises(DataError, match="No such file"):
        array.load()
    for name in ("units", "note"):
        with pytest.raises(DataError, match=f"utterance u-0000\n  found: no array '{name}'"):
            load_array(next(read_cuts(manifest)), name)
