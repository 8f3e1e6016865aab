"""The embedded corpus: sentences of a small grammar in generated eSpeak NG voices, with exact transcripts and phones."""

from __future__ import annotations


def prepare_parts(*arguments, **keywords) -> None:
    """See corpus.prepare_parts; imported on call, so that the processes that speak load neither lhotse nor torch."""
    from spin.corpus.generated import corpus

    corpus.prepare_parts(*arguments, **keywords)
