"""Whether a stage's product is up to date: what it was made from, and what differs now; and what a stage makes.

A stage's done mark says what it was made from: the configuration keys that matter to it, the contents of the files that these
name, and the run of the stage before it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from spin import artifacts
from spin.config import Config
from spin.errors import DataError
from spin.runtime.files import read_json
from spin.runtime.limits import PATHS
from spin.runtime.settings import config_dict

# The configuration that a stage's product depends on: sections or single keys, less those that change no result.
DEPENDS = {
    0: ("corpus",),
    1: ("perturbation",),
    2: ("seed", "encoder", "spin", "perturbation"),
    3: ("units",),
    4: ("asr",),
    5: ("decoding", "name"),
}
NO_EFFECT = (
    "corpus.data_dir",
    "corpus.download",
    "perturbation.tensorboard_pairs",
    "spin.workers",
    "spin.log_every_steps",
    "spin.checkpoint_every_steps",
    "asr.log_every_steps",
    "asr.feature_cache_in_mib",
    "asr.checkpoint_every_steps",
)
# The perturbation's own draws are made in training: experiments that differ in them share the analyses.
DRAWN = tuple(
    f"perturbation.{name}"
    for name in ("formant_ratio_max", "pitch_median_ratio_max", "pitch_range_ratio_max", "equaliser_gain_in_db", "equaliser")
)
FIRST_EXPERIMENT_STAGE = 2

# Keys that name files from outside: what these hold counts, not only what they are called.
NAMED_FILES = tuple(key for key in PATHS if key not in ("corpus.data_dir", "corpus.corpus_dir"))
_BLOCK, _BLOCKS = 1 << 20, 16  # of a file above 16 MiB so many blocks are read, from its first to its last byte

# Products that need not be there: only where something was rejected, or remade when missing.
PASSING = ("rejects_*", "*.index.npz")
# What a stage makes, as patterns below its folder (data/<corpus> for 0 and 1, exp/<name> for the rest). A stage that starts
# afresh, because its input changed or --force asked for it, removes these first, so that nothing old is taken for new.
PRODUCTS = {
    0: (
        "cuts_*.jsonl.gz",
        "cuts_*.index.npz",
        "audio",
        "alignment",
        "unaligned_*.jsonl",
        "lexicon*.txt",
        "lm_text.txt",
        "rejects_stage0.jsonl",
    ),
    1: ("cuts_*_pitch.jsonl.gz", "cuts_*_pitch.index.npz", "pitch", "speaker_pitch.json", "rejects_stage1.jsonl"),
    2: ("spin", "rejects_stage2.jsonl"),
    3: ("units", "rejects_stage3.jsonl"),
    4: ("asr_*", "lang", "rejects_stage4.jsonl"),
    5: (
        "asr_*/seed*/decode",
        "lang/*.fst.txt",
        "lang/*.arpa",
        "lang/G*",
        "lang/HLG*",
        "lang_decoding",
        "scores.json",
        "report.*",
        "rejects_stage5.jsonl",
    ),
}


def mark_folder(stage: int, exp: Path, corpus: Path) -> Path:
    """Stages 0 and 1 belong to the corpus, the others to the experiment."""
    return exp if stage >= FIRST_EXPERIMENT_STAGE else corpus


def why_again(stage: int, config: Config, exp: Path, corpus: Path) -> str | None:
    """None when the stage is done and up to date, else the reason to do it."""
    path = artifacts.done_mark(mark_folder(stage, exp, corpus), stage)
    if not path.exists():
        return "not done yet"
    mark = read_mark(path)
    reason = difference(mark["made_from"], made_from(stage, config, exp, corpus))
    if reason is None:
        folder = mark_folder(stage, exp, corpus)
        reason = next((f"{name} is gone" for name in mark.get("products", ()) if not (folder / name).exists()), None)
    return reason


def read_mark(path: Path) -> dict:
    """A done or started mark.

    Raises:
        DataError: it is not what a stage writes.
    """
    mark = read_json(path)
    source = mark.get("made_from") if isinstance(mark, dict) else None
    if not isinstance(source, dict) or not isinstance(source.get("config"), dict) or "before" not in source:
        raise DataError(
            str(path),
            found="no word of what the stage was made from",
            expected="the mark of a stage",
            cause="changed by hand, or by another program",
            remedy="remove the file: the stage is then done again",
        )
    return mark


def kept_products(stage: int, folder: Path) -> list[str]:
    """Names below the folder of what a stage has made, without what the next one adds and what need not stay."""
    found = {path for pattern in PRODUCTS[stage] for path in folder.glob(pattern)}
    later = {path for pattern in PRODUCTS.get(stage + 1, ()) for path in folder.glob(pattern)}
    passing = {path for path in found if any(path.match(pattern) for pattern in PASSING)}
    return sorted(str(path.relative_to(folder)) for path in found - later - passing)


def made_from(stage: int, config: Config, exp: Path, corpus: Path) -> dict:
    """What a stage's product depends on: flat configuration keys, digests of the files they name, the run of the stage before.

    There is no "files" where none is named or none can be read.
    """
    flat = _flatten(config_dict(config))
    wanted = DEPENDS[stage]
    keys = {key: value for key, value in flat.items() if key.split(".")[0] in wanted and _matters(stage, key)}
    before = None
    if stage > 0:
        path = artifacts.done_mark(mark_folder(stage - 1, exp, corpus), stage - 1)
        before = read_mark(path).get("run") if path.exists() else None
    digests = {key: content_digest(Path(keys[key])) for key in NAMED_FILES if keys.get(key)}
    files = {key: digest for key, digest in digests.items() if digest is not None}
    return {"config": keys, "before": before, **({"files": files} if files else {})}


def _matters(stage: int, key: str) -> bool:
    if key in NO_EFFECT:
        return False
    return not key.startswith("perturbation.") or (key in DRAWN) == (stage == 2)


def content_digest(path: Path) -> str | None:
    """Size and SHA-256 of a file, or of the names and files of a folder; None when it cannot be read.

    Of a large file only blocks spread evenly over it are read, first and last among them, so that asking whether a stage is done
    takes no time. A change that keeps the size and falls between the blocks goes unseen; in a gzipped file, whose last bytes are
    a checksum, none does.
    """
    state = hashlib.sha256()
    if path.is_dir():
        files = sorted(item for item in path.rglob("*") if item.is_file())
        for item in files:
            state.update(f"{item.relative_to(path)}\0{content_digest(item)}\n".encode("utf-8", "surrogateescape"))
        return f"{len(files)} files:{state.hexdigest()}"
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, 2)
            last = max(0, size - _BLOCK)
            whole = size <= _BLOCK * _BLOCKS
            starts = range(0, size, _BLOCK) if whole else [last * number // (_BLOCKS - 1) for number in range(_BLOCKS)]
            for start in starts:
                stream.seek(start)
                state.update(stream.read(_BLOCK))
    except OSError:
        return None
    return f"{size}:{state.hexdigest()}"


def check_before(stage: int, config: Config, exp: Path, corpus: Path) -> None:
    """Raises DataError when a stage before this one is missing or was made from something else."""
    for earlier in range(stage):
        reason = why_again(earlier, config, exp, corpus)
        if reason is not None:
            raise DataError(
                f"stage {stage} ({artifacts.STAGES[stage]})",
                found=f"stage {earlier} ({artifacts.STAGES[earlier]}): {reason}",
                expected="every stage before it done with this configuration",
                remedy=f"./run.sh --stage {earlier} --stop-stage {stage} with the same --conf, --set and --exp-dir",
            )


def _same_path(key: str, before, now) -> bool:
    both = isinstance(before, str) and isinstance(now, str)
    return both and key in (*NAMED_FILES, "corpus.corpus_dir") and os.path.abspath(before) == os.path.abspath(now)


def _flatten(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def difference(old: dict, new: dict) -> str | None:
    """The first thing in which two answers of made_from differ, in words; None when they do not.

    A file that one of the answers has no digest of (a mark of an older version, a file moved away since) is no difference.
    """
    missing = object()
    for key in sorted(set(old["config"]) | set(new["config"])):
        before, now = old["config"].get(key, missing), new["config"].get(key, missing)
        if now is missing or _same_path(key, before, now):
            continue  # it no longer matters to this stage, or it is written in another way
        if before != now:
            shown = "not set" if before is missing else repr(before)
            return f"{key} changed from {shown} to {now!r}"
    was, files = old.get("files", {}), new.get("files", {})
    for key in sorted(set(was) & set(files)):
        if was[key] != files[key]:
            return f"{key}: the content of {new['config'][key]} changed"
    return None if old["before"] == new["before"] else "the stage before it was done again"
