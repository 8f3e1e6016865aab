"""One rule for finished work. A product is a file or folder that somebody would hate to lose or to compute again.

Each product has a key: the configuration values it reads, the files these name, and the contents of the products it reads.
Same key: skip. No product: build it in a partial file or folder next to the target, and rename it when it is complete. Different
key: build the new one first, then replace the old one. The log names what changed. Nothing is moved out of the way before the new
product is complete, so rejected input costs nothing. The next run resumes the partial folder of an interrupted build.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from spin import artifacts
from spin.config import Config
from spin.errors import DataError
from spin.runtime.files import combined_digest, commit, content_digest, read_json, write_json
from spin.runtime.process import rank

FIRST_EXPERIMENT_STAGE = 2  # stages 0 and 1 write to the corpus folder
KEY = ".key.json"
CONFIG_HEADER = "# The configuration of the last stage that ended, written by the Spin recipe\n"  # first line of config.yaml
MARKER = ".spin-recipe"  # marks a folder made by this recipe, whose files may be replaced


@dataclasses.dataclass(frozen=True)
class Context:
    """One run of one stage: everything its work is given."""

    config: Config
    exp: Path  # folder of the experiment
    corpus: Path  # folder of the corpus' manifests
    stage: int
    log: logging.Logger
    command: str = ""  # rebuilds the whole report; the same for any folder, number of processes and choice of stages
    force: str | None = None  # identity of the rebuild that --force asked for
    checked: set[Path] = dataclasses.field(default_factory=set, compare=False)  # earlier stages' products found up to date

    @property
    def tensorboard(self) -> Path:
        """Folder of the stage's event files."""
        return artifacts.tensorboard(self.exp, self.stage)


@dataclasses.dataclass(eq=False)
class Product:
    """A file, or a folder where the name has no suffix."""

    context: Context  # of the stage that asks
    name: str  # for messages, such as "units of baseline, test"
    path: Path  # of the finished product
    _: dataclasses.KW_ONLY
    stage: int  # the stage that builds it
    own_key: dict  # {"config": {key: value}, "files": {key: digest}}; JSON values
    inputs: Sequence[Product] = ()  # products it reads; their contents belong to the key
    content: Sequence[str] = ("*",)  # patterns of the files whose content counts for products that read this one

    def __post_init__(self) -> None:
        name = self.path.name
        self.is_file = bool(self.path.suffix)
        self.key_path = self.path.with_name(f".{name}{KEY}") if self.is_file else self.path / KEY
        self.partial = self.path.with_name(f".partial-{name}" if self.is_file else f"{name}.partial")

    @property
    def key(self) -> dict:
        """The key as it should be now."""
        return {**self.own_key, "inputs": {product.name: product.digest for product in self.inputs}}

    @property
    def digest(self) -> str | None:
        """Digest of the content that counts of the finished product; None when there is none."""
        record = self._record()
        return _digest_of({name: file for name, file in record["files"].items() if self._counts(name)}) if record else None

    def only(self, *patterns: str) -> Product:
        """The same product for a reader that reads some of its files only."""
        return dataclasses.replace(self, name=f"{self.name} ({', '.join(patterns)})", content=patterns)

    @property
    def seconds(self) -> float | None:
        """Time its build took."""
        return self._record().get("seconds")

    def needs_build(self) -> bool:
        """Whether the product must be built; the log says why. Raises DataError where an input is missing or stale."""
        for product in self.inputs:
            product.require()
        if rank() == 0 and not self.is_file and not self.path.exists() and "digest" in read_record(self.partial / KEY):
            os.replace(self.partial, self.path)  # complete: a kill came between the two moves of _publish
        reason = self.stale_reason(forced=True)
        if rank() == 0:
            self.context.log.info("%s: %s", self.name, f"{reason}; building it" if reason else "up to date, skipped")
        return reason is not None

    def stale_reason(self, forced: bool = False) -> str | None:
        """None when the product is up to date, else the reason to build it. `forced`: whether --force counts."""
        if not self.path.exists():
            return "not built yet"
        record = self._record()
        if not record:
            return f"it has no readable key ({self.key_path.name})"
        force = self.context.force
        if forced and force and self.stage == self.context.stage and record.get("forced") != force:
            return "--force"
        return difference(record["key"], self.key) or self._edited(record)

    def require(self) -> Path:
        """The path of the finished product; raises DataError where it is missing or stale, and names the stage to run."""
        if self.path in self.context.checked:
            return self.path
        for product in self.inputs:
            if product.stage < self.context.stage:
                product.require()
        reason = self.stale_reason()
        if reason is not None:
            stage = f"stage {self.stage} ({artifacts.STAGES[self.stage]})"
            last = max(self.context.stage, self.stage)
            raise DataError(
                self.name,
                found=reason,
                expected=f"a finished product of {stage}, built with this configuration",
                remedy=f"./run.sh --stage {self.stage} --stop-stage {last} with the same --conf, --set and --exp-dir",
            )
        if self.stage < self.context.stage:
            self.context.checked.add(self.path)
        return self.path

    @contextlib.contextmanager
    def building(self, share: float = 1.0) -> Iterator[Path]:
        """Yields the partial path: a file path, or an existing folder that may hold the work of an interrupted build.

        On success the partial product replaces the old one, and the key is written last. On an exception the partial folder and
        the old product stay. Only rank 0 of a distributed run touches files. `share` is the part of the elapsed time that counts
        for this product, where several are built together.
        """
        if rank() > 0:
            yield self.partial
            return
        if not self.key_path.exists():
            refuse_foreign_file(self.path, self.context.corpus if self.stage < FIRST_EXPERIMENT_STAGE else self.context.exp)
        record, begun = {"key": self.key, "forced": self.context.force}, time.monotonic()
        self._prepare_partial(record)
        yield self.partial
        record |= {"seconds": round(share * (time.monotonic() - begun), 1), "commit": commit()}
        record["finished"] = datetime.datetime.now().isoformat(timespec="seconds")
        self._publish(record)

    def _prepare_partial(self, record: dict) -> None:
        if self.is_file:
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            self.partial.unlink(missing_ok=True)
            return
        if self.partial.exists():
            left = read_record(self.partial / KEY)
            if left.get("key") == record["key"] and record["forced"] in (None, left.get("forced")):
                self.context.log.info("%s: resuming an interrupted build", self.name)
                return
            shutil.rmtree(self.partial)
        self.partial.mkdir(parents=True)
        write_json(self.partial / KEY, record)

    def _publish(self, record: dict) -> None:
        """Moves the complete product to its place; needs_build() ends a move that was interrupted."""
        if self.is_file:
            os.replace(self.partial, self.path)
            write_json(self.key_path, record | self._contents(self.path.parent))
            return
        write_json(self.partial / KEY, record | self._contents(self.partial))
        replaced = self.path.with_name(f".replaced-{self.path.name}")
        shutil.rmtree(replaced, ignore_errors=True)
        if self.path.exists():
            os.replace(self.path, replaced)
        os.replace(self.partial, self.path)
        shutil.rmtree(replaced, ignore_errors=True)

    def _record(self) -> dict:
        record = read_record(self.key_path)
        return record if "digest" in record else {}

    def _counts(self, name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in self.content)

    def _contents(self, root: Path) -> dict:
        """Size, time and digest of each file below `root` whose content counts, and one digest of all."""
        files = {}
        for path in [self.path] if self.is_file else sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            if path.is_file() and path.name != KEY and self._counts(name):
                status = path.stat()
                files[name] = [status.st_size, status.st_mtime_ns, content_digest(path) or ""]
        return {"digest": _digest_of(files), "files": files}

    def _edited(self, record: dict) -> str | None:
        """The first file that is gone or was changed after the build. Size and time are compared first, then contents."""
        for name, (size, changed, digest) in record["files"].items():
            item = self.path if self.is_file else self.path / name
            try:
                status = item.stat()
            except OSError:
                return f"{name} is gone"
            if (status.st_size, status.st_mtime_ns) != (size, changed) and content_digest(item) != digest:
                return f"{name} was changed after it was built"
        return None


def _digest_of(files: dict[str, list]) -> str:
    return combined_digest({name: digest for name, (_, _, digest) in files.items()})


def read_record(path: Path) -> dict:
    """A product's key with what else is noted next to it; {} where there is none that can be read."""
    try:
        record = read_json(path)
    except DataError:
        return {}
    return record if isinstance(record, dict) and isinstance(record.get("key"), dict) else {}


def claim_folder(folder: Path) -> None:
    """Marks a new or empty folder as the recipe's own. One with a config.yaml of something else raises DataError."""
    config = artifacts.config_file(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if {item.name for item in folder.iterdir()} <= {".lock"}:
        (folder / MARKER).write_text("Files in this folder were made by the Spin recipe and may be replaced by it.\n")
    elif config.exists() and not config.read_text(encoding="utf-8", errors="replace").startswith(CONFIG_HEADER):
        refuse_foreign_file(config, folder)


def refuse_foreign_file(path: Path, root: Path) -> None:
    """Raises DataError where `path` exists in a folder that the recipe has not marked as its own."""
    if path.exists() and not (root / MARKER).exists():
        raise DataError(
            f"folder {path.parent}",
            found=f"{path.name}, which this recipe did not make",
            expected="an empty folder, or one made by this edition of the recipe",
            cause="the folder belongs to another program or to an earlier edition",
            remedy="--exp-dir FOLDER (of a corpus: --set corpus.name=NAME), or move the files away",
        )


def difference(old: dict, new: dict) -> str | None:
    """The first difference between two keys in words; None when they agree."""
    words = {
        "config": "{0} changed from {1!r} to {2!r}",
        "files": "the content of {0} changed",
        "inputs": "its input changed: {0}",
    }
    for section, text in words.items():
        before, now = old.get(section, {}), new.get(section, {})
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                return text.format(name, before.get(name), now.get(name))
    return None
