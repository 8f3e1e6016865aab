"""Corpora and all that is known of them before training: text, phone alignments, lexicon and checked manifests (stage 0)."""
