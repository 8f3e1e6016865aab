"""Stage 0: a corpus on disk, or generated, becomes checked manifests with alignments, a lexicon and the text of the LM."""

from __future__ import annotations

import collections
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from spin import artifacts
from spin.config import CorpusConfig
from spin.corpus.board import show_corpus
from spin.corpus.download import download_missing, download_root
from spin.corpus.generated.corpus import prepare_parts
from spin.corpus.lexicon import read_sentences, write_lexicon, write_lm_text
from spin.corpus.librispeech import require_folder, require_parts
from spin.corpus.pronunciation import default_dictionary
from spin.corpus.records import CUT, ID, REASON, align_part, aligned_cuts, read_file, read_part, tsv_index
from spin.corpus.validate import PartSummary, check_not_empty, check_part, check_speakers, claim_id
from spin.errors import ConfigError, DataError
from spin.runtime.files import read_jsonl, sweep, write_jsonl
from spin.runtime.manifests import write_manifest
from spin.runtime.rejects import Rejects
from spin.runtime.stages import Context


def prepare_data(context: Context) -> None:
    """Writes cuts_{part}.jsonl.gz for the parts of all roles, lexicon.txt, lm_text.txt, rejects and the TensorBoard log.

    Raises:
        ConfigError, DataError: say what is missing, bad or shared, and what to do.
    """
    config, corpus, log = context.config.corpus, context.corpus, context.log
    parts = corpus_parts(config)
    rejects = Rejects(artifacts.rejects(corpus, 0), 0)
    if config.lm_text is not None and config.asr_train:
        next(read_sentences(config.lm_text, log), None)  # a file that is not there ends the stage before the work
    if config.kind == "generated":
        _check_generated(config)
        context.begin()
        prepare_parts(context.config, corpus, parts, context.config.runtime.nj, log)
    else:
        prepare_librispeech(config, corpus, parts, context.config.runtime.nj, rejects, log, context.begin)
    rejects.close()
    known: dict[str, str] = {}
    summaries = {part: check_part(artifacts.cuts(corpus, part), part, known) for part in parts}
    check_speakers({part: summary.seconds_of for part, summary in summaries.items()}, config)
    _check_aligned(config, summaries)
    for summary in summaries.values():
        log.info(
            "part %s: %d utterances, %.2f h, %d speakers, %d utterances with phones",
            summary.name,
            len(summary.durations),
            summary.hours,
            len(summary.seconds_of),
            summary.aligned,
        )
    _write_words(config, corpus, summaries, log)
    show_corpus(context.tensorboard, corpus, summaries, context.config.seed)
    shutil.rmtree(artifacts.alignment_folder(corpus), ignore_errors=True)


def corpus_parts(config: CorpusConfig) -> tuple[str, ...]:
    """The parts of all roles, each once, in the order of the roles.

    A corpus for pre-training alone has parts in spin_train and in no other role.

    Raises:
        ConfigError: a role without parts, or a part that is not a plain folder name.
    """
    roles = {"spin_train": config.spin_train, "asr_train": config.asr_train, "valid": config.valid, "test": config.test}
    if not (config.asr_train or config.valid or config.test):
        roles = {"spin_train": config.spin_train}
    for role, parts in roles.items():
        bad = [part for part in parts if not part or "/" in part or part.startswith(".") or part.endswith("_pitch")]
        if not parts or bad:
            found = f"{bad[0]!r}" if bad else "no part"
            raise ConfigError(f"corpus.{role}", found=found, expected="names of parts, such as [train-clean-5]")
    return tuple(dict.fromkeys(part for parts in roles.values() for part in parts))


def prepare_librispeech(
    config: CorpusConfig,
    corpus: Path,
    parts: tuple[str, ...],
    nj: int,
    rejects: Rejects,
    log: logging.Logger,
    begin: Callable[[], None],
) -> None:
    """Reads, checks and aligns the parts and writes their manifests; the bad utterances go to `rejects`.

    `begin` is called when the corpus has been read and found good (spin.runtime.stages.Context.begin).

    Raises:
        ConfigError, DataError: no such folder, part or alignment file, or too many bad utterances.
    """
    if config.alignment == "tsv":
        for part in parts:
            tsv_index(config, part)  # a missing or malformed file ends the stage before the work
    if config.download:
        root = download_root(config.corpus_dir, config.data_dir)
        download_missing(root, parts, log)
    else:
        root = require_folder(config.corpus_dir)
    require_parts(root, parts)
    sweep(artifacts.alignment_folder(corpus))
    try:
        _read_and_check(root, parts, config, corpus, nj, rejects, log)
    except DataError:
        for part in parts:  # so that mended data are read anew
            read_file(corpus, part).unlink(missing_ok=True)
        raise
    begin()
    for part in parts:
        if not artifacts.cuts(corpus, part).exists():
            _align_and_write(part, config, corpus, nj, log)


def _read_and_check(
    root: Path, parts: tuple[str, ...], config: CorpusConfig, corpus: Path, nj: int, rejects: Rejects, log
) -> None:
    """What can be wrong with a corpus is found here, before the hours of alignment."""
    total, known, speakers = 0, {}, {part: set() for part in parts}
    for part in parts:
        log.info("part %s: reading every utterance of %s", part, root / part)
        read_part(root, part, config, corpus, nj, log)
        for record in read_jsonl(read_file(corpus, part)):
            total += 1
            if REASON in record:
                rejects.add(record[ID], part, record[REASON])
            else:
                claim_id(known, record[ID], part)
                speakers[part].add(record[CUT]["supervisions"][0]["speaker"])
    rejects.check_share(total, config.max_bad_share)
    for part in parts:
        if not speakers[part]:
            rejects.close()  # the error names the file
        check_not_empty(part, len(speakers[part]), rejects.path)
    check_speakers(speakers, config)


def _align_and_write(part: str, config: CorpusConfig, corpus: Path, nj: int, log: logging.Logger) -> None:
    if config.alignment != "none":
        log.info("part %s: phone alignment (%s)", part, "pocketsphinx" if config.alignment == "auto" else config.alignment)
    align_part(part, config, corpus, nj)
    unaligned: list[dict] = []
    cuts = aligned_cuts(part, config, corpus, lambda identity, reason: unaligned.append({ID: identity, REASON: reason}))
    count = write_manifest(
        artifacts.cuts(corpus, part), _then(cuts, lambda: write_jsonl(artifacts.unaligned(corpus, part), unaligned))
    )
    reasons = collections.Counter(record[REASON].split(":")[0] for record in unaligned)
    for reason, number in reasons.most_common():
        log.warning(
            "part %s: %d of %d utterances keep no phone alignment: %s (see %s)",
            part,
            number,
            count,
            reason,
            artifacts.unaligned(corpus, part),
        )


def _then(records: Iterator[dict], finish: Callable[[], object]) -> Iterator[dict]:
    """The records, and a last act before their file appears: the manifest comes last, and says that the part is done."""
    yield from records
    finish()


def _check_generated(config: CorpusConfig) -> None:
    if config.alignment != "auto":
        raise ConfigError(
            "corpus.alignment",
            found=config.alignment,
            expected="auto: the generated corpus brings its exact alignments",
            remedy="--set corpus.alignment=auto",
        )


def _check_aligned(config: CorpusConfig, summaries: dict[str, PartSummary]) -> None:
    if config.alignment == "tsv" and not any(summary.aligned for summary in summaries.values()):
        raise DataError(
            f"alignment file {config.alignment_tsv}",
            found="none of its utterances is in the corpus",
            expected="ids such as 103-1240-0000",
            remedy="give the file of these parts, or --set corpus.alignment=pocketsphinx",
        )


def _write_words(config: CorpusConfig, corpus: Path, summaries: dict[str, PartSummary], log: logging.Logger) -> None:
    if not config.asr_train:
        log.info("no part teaches a recogniser: no LM text and no lexicon")
        return
    words = set().union(*(summary.words for summary in summaries.values()))
    if config.lm_text is None and config.kind == "generated":  # its LM text was generated with it
        sentences = read_sentences(artifacts.lm_text(corpus), log)
    elif config.lm_text is None:
        sentences = _texts(corpus, config.asr_train)
    else:
        sentences = read_sentences(config.lm_text, log)
    held_out = set(_texts(corpus, (*config.valid, *config.test)))
    words |= write_lm_text(artifacts.lm_text(corpus), sentences, held_out, log)
    write_lexicon(corpus, words, default_dictionary(), log)


def _texts(corpus: Path, parts: tuple[str, ...]) -> Iterator[str]:
    """The transcripts of parts, read one at a time."""
    for part in dict.fromkeys(parts):
        for cut in read_jsonl(artifacts.cuts(corpus, part)):
            yield cut["supervisions"][0]["text"]
