"""Corpora: LibriSpeech and the generated one, their text, phone alignments, lexicon and checked manifests (stage 0)."""
