"""Rejected utterances: each is listed with its reason and counted, and a stage stops when their share is too large."""

import collections
import math
from pathlib import Path

from spin.artifacts import REJECT_ID, REJECT_PART, REJECT_REASON, REJECT_STAGE
from spin.errors import DataError, rerun
from spin.runtime.files import write_jsonl
from spin.runtime.logs import get_logger


class Rejects:
    """Collects rejected utterances and writes them to `path`, one line of JSON each, when closed."""

    def __init__(self, path: str | Path, stage: int):
        self.path, self.stage = Path(path), stage
        self.records: list[dict] = []

    def add(self, utterance_id: str, part: str, reason: str) -> None:
        self.records.append({REJECT_ID: utterance_id, REJECT_PART: part, REJECT_STAGE: self.stage, REJECT_REASON: reason})

    def reasons(self) -> list[tuple[str, int]]:
        """Reasons with their counts, the most frequent first; text after a colon is detail and is not counted separately."""
        return collections.Counter(record[REJECT_REASON].split(":")[0] for record in self.records).most_common()

    def check_share(self, total: int, max_share: float) -> None:
        """Raises DataError when more than `max_share` of `total` utterances were rejected, or when none remains."""
        bad = len(self.records)
        if total == 0:
            remedy = "name the folder and parts: --corpus-dir FOLDER --set corpus.test=[PART]"
            raise DataError("corpus", found="no utterance at all", expected="at least one", remedy=remedy)
        if bad <= max_share * total and bad < total:
            return
        self.close()
        reasons = "; ".join(f"{count} x {reason}" for reason, count in self.reasons()[:5])
        names = ", ".join(record[REJECT_ID] for record in self.records[:5])
        enough = (math.floor(100 * bad / total) + 1) / 100
        fix = f"fix what {self.path} lists, then {rerun(0, self.stage)}"
        raise DataError(
            f"stage {self.stage}: {bad} of {total} utterances cannot be used",
            found=f"{reasons}; for example {names}",
            expected=f"a share of at most {max_share:g} (corpus.max_bad_share)",
            remedy=fix + (f"; or --set corpus.max_bad_share={enough:g}" if bad < total else ""),
        )

    def close(self) -> None:
        """Writes the file (empty when nothing was rejected) and logs the counts."""
        write_jsonl(self.path, sorted(self.records, key=lambda record: tuple(str(value) for value in record.values())))
        for reason, count in self.reasons():
            message = "stage %d: %d utterance(s) rejected: %s (see %s)"
            get_logger("rejects").warning(message, self.stage, count, reason, self.path)
