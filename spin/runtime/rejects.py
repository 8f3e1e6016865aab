"""Rejected utterances: each is listed with its reason and counted, and a stage stops when their share is too large."""

from __future__ import annotations

import collections
from pathlib import Path

from spin import artifacts
from spin.errors import DataError
from spin.runtime.files import write_jsonl
from spin.runtime.logs import get_logger


class Rejects:
    """Collects rejected utterances and writes them to `path`, one line of JSON each, when closed."""

    def __init__(self, path: str | Path, stage: int):
        self.path, self.stage = Path(path), stage
        self.records: list[dict] = []

    def add(self, utterance_id: str, part: str, reason: str) -> None:
        record = (artifacts.REJECT_ID, artifacts.REJECT_PART, artifacts.REJECT_STAGE, artifacts.REJECT_REASON)
        self.records.append(dict(zip(record, (utterance_id, part, self.stage, reason))))

    def reasons(self) -> list[tuple[str, int]]:
        """Reasons with their counts, the most frequent first; text after a colon is detail and is not counted separately."""
        counts = collections.Counter(record[artifacts.REJECT_REASON].split(":")[0] for record in self.records)
        return counts.most_common()

    def check_share(self, total: int, max_share: float) -> None:
        """Raises DataError when more than `max_share` of `total` utterances were rejected, or when none remains."""
        bad = len(self.records)
        if total > 0 and bad <= max_share * total and bad < total:
            return
        if total == 0:
            raise DataError(
                "corpus", found="no utterance at all", expected="at least one", remedy="check the corpus folder and parts"
            )
        self.close()
        reasons = "; ".join(f"{count} x {reason}" for reason, count in self.reasons()[:5])
        names = ", ".join(record[artifacts.REJECT_ID] for record in self.records[:5])
        raise DataError(
            f"stage {self.stage}: {bad} of {total} utterances cannot be used",
            found=f"{reasons}; for example {names}",
            expected=f"a share of at most {max_share:g} (corpus.max_bad_share)",
            remedy=f"see {self.path}; fix the data, or rerun with --set corpus.max_bad_share=<a larger share>",
        )

    def close(self) -> None:
        """Writes the file (empty when nothing was rejected) and logs the counts."""
        write_jsonl(self.path, sorted(self.records, key=lambda record: tuple(str(value) for value in record.values())))
        log = get_logger("rejects")
        for reason, count in self.reasons():
            log.warning("stage %d: %d utterance(s) rejected: %s (see %s)", self.stage, count, reason, self.path)
