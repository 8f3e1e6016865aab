"""The rule for finished work on small products: skip, resume, replace, refuse."""

import functools
import os

import pytest

from spin.config import Config
from spin.errors import DataError
from spin.runtime.logs import get_logger
from spin.runtime.product import CONFIG_HEADER, KEY, MARKER, Context, Product, claim_folder, difference


def make_context(folder, stage: int = 3, force: str | None = None) -> Context:
    return Context(Config(), folder / "exp", folder / "data", stage, get_logger("test"), force=force)


@pytest.fixture
def context(tmp_path) -> Context:
    for name in ("exp", "data"):
        claim_folder(tmp_path / name)
    return make_context(tmp_path)


def folder(context: Context, value: int = 1, name: str = "units", stage: int = 3, **more) -> Product:
    own_key = {"config": {"a": value}, "files": {}}
    return Product(context, name, context.exp / name, stage=stage, own_key=own_key, **more)


single = functools.partial(folder, name="cuts.jsonl.gz")


def build(product: Product, text: str = "content") -> bool:
    """Builds a product where that is needed; whether it was."""
    if not product.needs_build():
        return False
    with product.building() as partial:
        (partial if product.is_file else partial / "file.txt").write_text(text)
    return True


@pytest.mark.parametrize("make", [folder, single])
def test_a_product_is_built_once_and_again_when_its_key_changes(context, make):
    assert build(make(context)) and not build(make(context))
    before = make(context).digest
    assert make(context, 2).stale_reason() == "a changed from 1 to 2"
    assert build(make(context, 2), "other") and not build(make(context, 2))
    assert make(context, 2).digest != before
    assert make(context, 2).require() == make(context).path and make(context, 2).seconds >= 0


@pytest.mark.parametrize("make", [folder, single])
def test_the_old_product_stays_until_the_new_one_is_complete(context, make):
    build(make(context), "old")
    with pytest.raises(RuntimeError), make(context, 2).building() as partial:
        (partial if make is single else partial / "file.txt").write_text("half")
        raise RuntimeError
    assert not make(context).needs_build()
    path = make(context).path
    assert (path if path.is_file() else path / "file.txt").read_text() == "old"


def test_an_interrupted_build_resumes_with_the_same_key_only(context):
    for value, expected in ((1, []), (1, ["file.txt"]), (2, [])):
        with pytest.raises(RuntimeError), folder(context, value).building() as partial:
            assert sorted(item.name for item in partial.iterdir() if item.name != KEY) == expected
            (partial / "file.txt").write_text("half")
            raise RuntimeError


def test_a_changed_input_makes_its_readers_stale(context):
    build(single(context))
    assert build(folder(context, inputs=[single(context)]))
    build(single(context, 2), "content")  # another key, the same content
    assert not build(folder(context, inputs=[single(context, 2)]))
    build(single(context, 3), "other content")
    assert folder(context, inputs=[single(context, 3)]).stale_reason() == "its input changed: cuts.jsonl.gz"


def test_a_reader_of_some_files_ignores_the_others(context):
    for value, words, stale in ((1, "a b", True), (2, "a b c", False), (3, "a b d", True)):
        inner = folder(context, value, name="lang", content=["*s.txt"])
        with inner.building() as partial:
            (partial / "words.txt").write_text(words)
            (partial / "tokens.txt").write_text(words[-1] if value == 3 else "a b")
            (partial / "time").write_text("1 s")
        assert build(folder(context, inputs=[inner.only("tokens.txt")])) == stale
    before = inner.digest
    (inner.path / "time").write_text("2 s")  # its own content does not count it
    assert folder(context, inputs=[inner.only("tokens.txt")]).stale_reason() is None
    assert inner.stale_reason() is None and inner.digest == before


def test_edits_losses_and_copies_are_noticed(context, monkeypatch):
    build(folder(context))
    path = context.exp / "units" / "file.txt"
    with monkeypatch.context() as patch:  # contents are read only when size or time differ
        patch.setattr("spin.runtime.product.content_digest", lambda path: pytest.fail(f"{path} was read"))
        assert folder(context).stale_reason() is None
    os.utime(path, (1, 1))  # a copy changes the time, not the content
    assert folder(context).stale_reason() is None
    path.write_text("edited!")
    assert folder(context).stale_reason() == "file.txt was changed after it was built"
    path.unlink()
    assert folder(context).stale_reason() == "file.txt is gone"
    build(folder(context))
    (context.exp / "units" / KEY).unlink()
    assert "no readable key" in folder(context).stale_reason()
    assert build(folder(context))  # in a folder of the recipe it is built again
    (context.exp / "units" / KEY).write_text("[1, 2")
    assert "no readable key" in folder(context).stale_reason()


def test_files_of_another_program_are_never_replaced(tmp_path):
    exp = tmp_path / "exp"
    (exp / "units").mkdir(parents=True)
    (exp / "units" / "thesis.txt").write_text("years of work")
    claim_folder(exp)  # not empty: it gets no marker
    with pytest.raises(DataError, match="did not make"), folder(make_context(tmp_path)).building():
        pass
    assert (exp / "units" / "thesis.txt").exists() and not (exp / MARKER).exists()
    (exp / "config.yaml").write_text("theirs")
    with pytest.raises(DataError, match="config.yaml"):
        claim_folder(exp)
    (exp / "config.yaml").write_text(CONFIG_HEADER + "name: ours\n")  # written by an earlier stage next to foreign files
    claim_folder(exp)


def test_a_missing_or_stale_input_names_its_stage(context):
    earlier = single(context, stage=0)
    with pytest.raises(DataError, match=r"not built yet[\s\S]*run.sh --stage 0 --stop-stage 3"):
        folder(context, inputs=[earlier]).needs_build()
    build(single(make_context(context.exp.parent, 0), stage=0))
    assert build(folder(context, inputs=[earlier]))
    context.checked.clear()  # the next run
    with pytest.raises(DataError, match="a changed from 1 to 5"):
        folder(context, inputs=[single(context, 5, stage=0)]).require()


def test_force_rebuilds_once_and_resumes(context, tmp_path):
    build(folder(context))
    forced = make_context(tmp_path, force="run-1")
    for expected in (False, True):  # the same forced run resumes
        with pytest.raises(RuntimeError), folder(forced).building() as partial:
            assert folder(forced).stale_reason(forced=True) == "--force"
            assert (partial / "half.txt").exists() == expected
            (partial / "half.txt").write_text("half")
            raise RuntimeError
    build(folder(forced))
    assert folder(forced).stale_reason(forced=True) is None
    assert folder(make_context(tmp_path, force="run-2")).stale_reason(forced=True) == "--force"
    later = make_context(tmp_path, stage=4, force="run-2")
    assert folder(later).stale_reason(forced=True) is None  # --force concerns the products of its own stage


def test_a_kill_between_the_two_renames_loses_nothing(context, monkeypatch):
    build(folder(context), "old")
    with monkeypatch.context() as patch, pytest.raises(FileNotFoundError), folder(context, 2).building() as partial:
        (partial / "file.txt").write_text("new")
        patch.setattr("os.replace", lambda old, new, rename=os.replace: rename("gone" if old == partial else old, new))
    product = folder(context, 2)
    assert not product.path.exists() and not product.needs_build() and (product.path / "file.txt").read_text() == "new"
    build(folder(context, 3))
    assert [path.name for path in context.exp.iterdir() if "replaced" in path.name] == []


def test_the_first_difference_is_said_in_words():
    old = {"config": {"a": 1, "b": [1]}, "files": {"asr.lexicon": ["x"]}, "inputs": {"cuts": "1"}}
    assert difference(old, old) is None
    assert difference(old, {**old, "config": {"a": 1}}) == "b changed from [1] to None"
    assert difference(old, {**old, "files": {"asr.lexicon": ["y"]}}) == "the content of asr.lexicon changed"
    assert difference({}, {"config": {"a": 1}}) == "a changed from None to 1"
