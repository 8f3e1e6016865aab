"""The embedded corpus: sentences of a small grammar in generated eSpeak NG voices, with exact transcripts and phones."""
