"""Runs kinds of bad input through the stage scripts and compares each outcome with the required one."""

from __future__ import annotations

import dataclasses
import fnmatch
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spin import artifacts
from spin.runtime.files import read_jsonl
from tests.faults import bad_configurations, bad_corpora, bad_utterances
from tests.faults.bad_configurations import BadConfiguration
from tests.faults.bad_corpora import BadCorpus
from tests.faults.layouts import CONF, small_corpus, write_chapter
from tests.faults.stage_server import HUNG, ROOT, Ended, StageServer

TEXTS = ["HELLO WORLD", "GOOD MORNING"]
SPEAKER = "200"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one kind: a line for people, and what is wrong with it ("" if nothing)."""

    group: str
    name: str
    outcome: str
    wrong: str = ""


def shown(text: str, size: int = 110) -> str:
    line = " ".join(text.split())
    return line if len(line) <= size else line[: size - 3] + "..."


def judge(group: str, name: str, ended: Ended, expected: str, folder: Path) -> Outcome:
    """An error with status 1, the expected words, a remedy and no traceback; or, where expected is "", status 0."""
    lines = ended.output.splitlines()
    starts = [number for number, line in enumerate(lines) if " ERROR " in line]
    message = " ".join(lines[starts[0] + 1 : starts[0] + 4]) if starts else " ".join(lines[:4])
    message = shown(message.replace(f"{folder}/", "").replace(str(folder), "."))
    problems = []
    if ended.status == HUNG:
        problems.append("it hung")
    if "Traceback" in ended.output:
        problems.append("a traceback")
    if (folder / "canary").exists():
        problems.append("code was run")
    if expected and (ended.status != 1 or not re.search(expected, ended.output)):
        problems.append(f"status {ended.status}, without the words {expected!r}")
    if expected and not re.search("remedy: |expected: ", ended.output):
        problems.append("no remedy")
    if not expected and ended.status != 0:
        problems.append(f"status {ended.status}")
    if problems:
        problems.append("\n" + ended.output[-1500:])
    return Outcome(group, name, f"error: {message}" if expected else "finishes", "; ".join(problems))


def options(root: str = "LibriSpeech") -> tuple[str, ...]:
    return ("--conf", "conf.yaml", "--corpus-dir", root)


def try_utterances(folder: Path, server: StageServer) -> Iterator[Outcome]:
    """All kinds of bad utterance in one corpus, one chapter each: each one is listed, and nothing else is lost."""
    root, chapters = small_corpus(folder), {}
    for number, kind in enumerate(bad_utterances.KINDS, 1):
        ids = write_chapter(root / "train", SPEAKER, str(number), TEXTS)
        kind.spoil(root / "train" / SPEAKER / str(number), ids[1])
        chapters[str(number)] = kind
    ended = server.run(0, folder, *options(), "--set", "corpus.max_bad_share=0.9")
    if ended.status != 0:
        yield Outcome("utterance", "all together", "", f"status {ended.status}\n{ended.output[-3000:]}")
        return
    corpus = artifacts.corpus_folder(folder / "data", "c")
    rejected = {record["id"]: record["reason"] for record in read_jsonl(artifacts.rejects(corpus, artifacts.STAGES[0]))}
    texts = {cut["id"]: cut["supervisions"][0]["text"] for cut in read_jsonl(artifacts.cuts(corpus, "train"))}
    for number, kind in chapters.items():
        yield _judge_utterance(kind, f"{SPEAKER}-{number}-", rejected, texts, f"{number}/")


def _judge_utterance(kind, prefix: str, rejected: dict[str, str], texts: dict[str, str], folder: str) -> Outcome:
    group, good, bad = "utterance", f"{prefix}0000", f"{prefix}0001"
    wanted = kind.renamed.replace("{}", bad)
    own = {name: reason for name, reason in rejected.items() if name.startswith((prefix, folder)) or name == wanted}
    wrong = "" if texts.get(good) == TEXTS[0] else f"the good utterance in its chapter is lost: {rejected.get(good)}"
    if kind.expected == bad_utterances.ACCEPTED:
        wrong = wrong or ("" if texts.get(bad) == kind.text and not own else f"{texts.get(bad)!r}, {own}")
        return Outcome(group, kind.name, f"used, text {kind.text!r}", wrong)
    found = [reason for name, reason in own.items() if fnmatch.fnmatchcase(name, wanted) or wanted == "*"]
    if not any(re.match(kind.expected, reason) for reason in found):
        wrong = wrong or f"expected {wanted!r}: {kind.expected}; found {own}"
    if wanted != bad and kind.renamed != "*" and texts.get(bad) != TEXTS[1]:
        wrong = wrong or "the good utterance is lost"
    return Outcome(group, kind.name, f"rejected: {shown(found[0]) if found else ''}", wrong)


def try_corpus(folder: Path, server: StageServer, kind: BadCorpus) -> Outcome:
    """One bad corpus."""
    bad_corpora.make(folder, kind)
    try:
        ended = server.run(0, folder, *options(), *kind.options)
    finally:
        bad_corpora.restore_modes(folder)
    return judge("corpus", kind.name, ended, kind.expected, folder)


def try_configuration(folder: Path, server: StageServer, kind: BadConfiguration) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "conf.yaml").write_text(kind.text or CONF, encoding="utf-8")
    ended = server.run(0, folder, "--conf", "conf.yaml", "--corpus-dir", "absent", *kind.options)
    return judge("configuration", kind.name, ended, kind.expected, folder)


def try_checkpoints(folder: Path) -> Iterator[Outcome]:
    """Every kind of bad weights on a copy of a small experiment."""
    from tests.faults import bad_checkpoints  # torch, only where it is needed

    work, whole = folder / "work", folder / "whole"
    with StageServer("training") as server:
        small_corpus(work)
        for stage in (0, 1, 2):
            ended = server.run(stage, work, *options())
            if ended.status != 0:
                yield Outcome("checkpoint", f"stage {stage} before all", "", f"status {ended.status}\n{ended.output[-3000:]}")
                return
        work.rename(whole)
        for kind in bad_checkpoints.KINDS:
            shutil.copytree(whole, work)  # always in the same place: manifests name recordings by their folder
            kind.make(work)
            if kind.stage == bad_checkpoints.UNITS:
                ended = units_of_a_file(work)
            else:
                ended = server.run(kind.stage, work, *options(), "--set", f"encoder.source={kind.encoder}")
            yield judge("checkpoint", kind.name, ended, kind.expected, work)
            shutil.rmtree(work)


def units_of_a_file(folder: Path) -> Ended:
    """`python -m spin units` with bad.ckpt."""
    audio = str(next((folder / "LibriSpeech").rglob("*.flac")))
    command = [sys.executable, "-m", "spin", "units", "--model", "bad.ckpt", "--audio", audio, "--output", "units.jsonl"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return Ended(done.returncode, done.stdout + done.stderr)


def try_products(folder: Path, names: str = "") -> Iterator[Outcome]:
    """Every kind of damaged product on a copy of a small experiment; those alone whose name matches `names`, if given."""
    from tests.faults import bad_products  # torch, only where it is needed
    from tests.faults.harness import NEEDS_K2, python_of

    more = tuple(word for pair in bad_products.SETTINGS for word in ("--set", pair))
    with StageServer("training") as first, StageServer("recognising", python_of(NEEDS_K2)) as second:
        work, whole = folder / "work", folder / "whole"
        small_corpus(work)
        for stage in artifacts.STAGES:
            ended = (second if stage >= NEEDS_K2 else first).run(stage, work, *options(), *more)
            if ended.status != 0:
                yield Outcome("product", f"stage {stage} before all", "", f"status {ended.status}\n{ended.output[-3000:]}")
                return
        work.rename(whole)
        for kind in (kind for kind in bad_products.KINDS if re.search(names, kind.name)):
            shutil.copytree(whole, work)  # always in the same place: manifests name recordings by their folder
            kind.make(work)
            server = second if kind.stage >= NEEDS_K2 else first
            ended = server.run(kind.stage, work, *options(), *more)
            outcome = judge("product", kind.name, ended, kind.expected, work)
            if not (outcome.wrong or kind.expected):
                outcome = dataclasses.replace(outcome, wrong=_different(whole, work, bad_products.SAME[kind.stage]))
            yield outcome
            shutil.rmtree(work)


def _different(whole: Path, folder: Path, patterns: tuple[str, ...]) -> str:
    """Products of an undisturbed run that are not the same here; "" where all are."""
    names = sorted(path.relative_to(whole) for pattern in patterns for path in whole.glob(pattern))
    wrong = [
        str(name) for name in names if not (folder / name).exists() or (folder / name).read_bytes() != (whole / name).read_bytes()
    ]
    return f"another result: {wrong[0]}" if wrong else ("" if names else "nothing to compare")


def try_all(folder: Path) -> Iterator[Outcome]:
    """Every kind, in the order of the tables."""
    with StageServer() as server:
        yield from try_utterances(folder / "utterances", server)
        for number, corpus in enumerate(bad_corpora.KINDS):
            yield try_corpus(folder / f"corpus{number}", server, corpus)
        for number, configuration in enumerate(bad_configurations.KINDS):
            yield try_configuration(folder / f"configuration{number}", server, configuration)
    yield from try_checkpoints(folder / "checkpoints")
    yield from try_products(folder / "products")
