"""Every file name and every record key that one part of the recipe writes and another reads. No other file spells them.

Folders: data/<corpus>/ belongs to stages 0 and 1 and may serve several experiments; exp/<name>/ belongs to one experiment.
"""

from __future__ import annotations

from pathlib import Path

STAGES = {
    0: "prepare_data",
    1: "analyse_pitch",
    2: "train_spin",
    3: "extract_units",
    4: "train_asr",
    5: "decode_and_report",
}
LAST_STAGE = max(STAGES)
SYSTEMS = ("baseline", "spin")  # the encoder before and after Spin
FBANK = "fbank"  # the third system of asr.systems: log-mel filterbank features
FRAME_SHIFT_IN_S = 0.02  # of encoder frames and units
PHONE_SHIFT_IN_S = 0.01  # of phone labels
SAMPLE_RATE = 16_000
SILENCE = "SIL"  # the phone label of silence, and of frames outside every alignment item

# Names of custom fields in lhotse cuts, and of alignment tiers in supervisions.
PHONE_TIER = "phone"
WORD_TIER = "word"
PITCH_FIELD = "pitch"  # TemporalArray (frames,) float32, Hz, 0 where unvoiced; custom keys below give its time axis
PULSES_FIELD = "pulses"  # Array (pulses,) float64, positions in samples of the recording
PITCH_START_FIELD = "pitch_start"  # seconds, time of the first frame
PITCH_SHIFTED_START_FIELD = "pitch_shifted_start"  # seconds, where the synthesis puts the first frame (perturbation.md, item 4)
PITCH_NOTE_FIELD = "pitch_note"  # "" or why the perturbation is an equaliser only
PITCH_STEP_FIELD = "pitch_step"  # seconds between frames
PITCH_FLOOR_FIELD = "pitch_floor"  # Hz, of the speaker
PITCH_CEILING_FIELD = "pitch_ceiling"  # Hz
HIDDEN_FIELD = "hidden"  # TemporalArray (frames, dim) float16, one layer of an encoder
LAYERS_FIELD = "layers"  # TemporalArray (frames, layers + 1, dim) float16, every layer; only with units.store_layers
UNITS_FIELD = "units"  # TemporalArray (frames,) int32

UNITS_ID, UNITS_SEQUENCE = "id", "units"  # keys of a line of units.jsonl
REJECT_ID, REJECT_PART, REJECT_STAGE, REJECT_REASON = "id", "part", "stage", "reason"


# data/<corpus>/
def corpus_folder(data_dir: str | Path, corpus_name: str) -> Path:
    return Path(data_dir) / corpus_name


def cuts(corpus: Path, part: str) -> Path:
    """Stage 0: one MonoCut an utterance, one supervision each (text, speaker, alignment)."""
    return corpus / f"cuts_{part}.jsonl.gz"


def pitch_cuts(corpus: Path, part: str) -> Path:
    """Stage 1: the same cuts with pitch contour, pulses and pitch range."""
    return corpus / f"cuts_{part}_pitch.jsonl.gz"


def pitch_arrays(corpus: Path, part: str) -> Path:
    return corpus / "pitch" / part


def speaker_pitch_lines(corpus: Path) -> Path:
    """Stage 1's own record of the speakers whose range is estimated, from which a killed stage goes on."""
    return corpus / "pitch" / "speakers.jsonl"


def speaker_pitch(corpus: Path) -> Path:
    """Stage 1: JSON, speaker -> {floor, ceiling, median} in Hz."""
    return corpus / "speaker_pitch.json"


def lexicon(corpus: Path, variants: bool = False) -> Path:
    """Stage 0: a line a word: word, tab, phones separated by spaces. `variants`: all pronunciations but the first."""
    return corpus / ("lexicon_variants.txt" if variants else "lexicon.txt")


def lm_text(corpus: Path) -> Path:
    """Stage 0: normalised sentences for the n-gram LM, one a line."""
    return corpus / "lm_text.txt"


def rejects(folder: Path, stage: int) -> Path:
    """A line of JSON for each utterance that a stage could not use."""
    return folder / f"rejects_stage{stage}.jsonl"


def generated_audio(corpus: Path) -> Path:
    return corpus / "audio"


# exp/<name>/
def config_file(exp: Path) -> Path:
    return exp / "config.yaml"


def tensorboard(exp: Path, stage: int) -> Path:
    return exp / "tensorboard" / f"{stage}_{STAGES[stage]}"


def done_mark(folder: Path, stage: int) -> Path:
    """Marks of stages 0 and 1 lie in the corpus folder, the others in the experiment's."""
    return folder / ".done" / f"stage{stage}.json"


def started_mark(folder: Path, stage: int) -> Path:
    """There while a stage is at work: what it is made from, so that a killed run is gone on with only for the same work."""
    return folder / ".done" / f"stage{stage}.started.json"


def spin_folder(exp: Path) -> Path:
    return exp / "spin"


def spin_model(exp: Path) -> Path:
    """Stage 2's product: encoder, head and codebook in one safetensors file."""
    return spin_folder(exp) / "model.safetensors"


def spin_history(exp: Path) -> Path:
    """A line of JSON a validation: step, loss, pnmi, perplexity."""
    return spin_folder(exp) / "history.jsonl"


def units_folder(exp: Path, system: str) -> Path:
    return exp / "units" / system


def units_cuts(exp: Path, system: str, part: str) -> Path:
    """Stage 3: stage 0's cuts with HIDDEN_FIELD and UNITS_FIELD."""
    return units_folder(exp, system) / f"cuts_{part}.jsonl.gz"


def units_lines(exp: Path, system: str, part: str) -> Path:
    return units_folder(exp, system) / f"units_{part}.jsonl"


def units_arrays(exp: Path, system: str, part: str) -> Path:
    return units_folder(exp, system) / "arrays" / part


def units_shards(exp: Path, part: str) -> Path:
    """Stage 3's own records of finished work on a part, from which its manifests are put together."""
    return exp / "units" / "shards" / part


def kmeans(exp: Path) -> Path:
    """The baseline's cluster centres, safetensors key `centres` (K, dim) float32."""
    return units_folder(exp, "baseline") / "kmeans.safetensors"


def unit_quality(exp: Path) -> Path:
    """Stage 3: JSON {"units": {system: {K, pnmi, ...}}, "speaker": {system: {accuracy}, "chance": ..}}."""
    return exp / "units" / "quality.json"


def unit_phone_counts(exp: Path) -> Path:
    """Stage 3: npz, `phones` (P,) str, and for each system `counts_<system>` (P, K) int64 frames of 10 ms."""
    return exp / "units" / "phone_counts.npz"


def asr_folder(exp: Path, system: str) -> Path:
    return exp / f"asr_{system}"


def asr_seed_folder(exp: Path, system: str, seed: int) -> Path:
    return asr_folder(exp, system) / f"seed{seed}"


def features_cuts(exp: Path, system: str, part: str) -> Path:
    """What a recogniser reads: stage 3's cuts of an encoder, or stage 4's of the filterbank; both with HIDDEN_FIELD."""
    if system == FBANK:
        return asr_folder(exp, system) / "features" / f"cuts_{part}.jsonl.gz"
    return units_cuts(exp, system, part)


def fbank_arrays(exp: Path, part: str) -> Path:
    return asr_folder(exp, FBANK) / "features" / "arrays" / part


def asr_model(exp: Path, system: str, seed: int) -> Path:
    """Stage 4: the checkpoint that was best on the valid part, torch.save of a state dict and its settings."""
    return asr_seed_folder(exp, system, seed) / "best.pt"


def asr_history(exp: Path, system: str, seed: int) -> Path:
    """A line of JSON a validation: step, loss of training, valid_loss, valid_wer, valid_cer (per cent), where measured."""
    return asr_seed_folder(exp, system, seed) / "history.jsonl"


def lang_folder(exp: Path) -> Path:
    """Stage 4: tokens.txt, words.txt, lexicon.txt, L.pt, L_disambig.pt, bpe.model if any; stage 5 adds G and HLG."""
    return exp / "lang"


def lang_key(lang: Path) -> Path:
    """Stage 4: JSON {"key": digest of what the folder was made from}; written last."""
    return lang / "made_from.json"


def arpa(lang: Path, order: int) -> Path:
    """Stage 5: the n-gram LM."""
    return lang / f"{order}gram.arpa"


def decoding_graph(lang: Path, order: int) -> Path:
    """Stage 5: H o L o G, safetensors with the key of what it was made from."""
    return lang / f"HLG_{order}gram.safetensors"


def rescoring_grammar(lang: Path, order: int) -> Path:
    """Stage 5: the larger LM as G, safetensors with the key of what it was made from."""
    return lang / f"G_{order}gram.safetensors"


def decoding_lang_folder(exp: Path) -> Path:
    """Stage 5: the lang folder with the words of a given ARPA file, where decoding.arpa names one."""
    return exp / "lang_decoding"


def decode_folder(exp: Path, system: str, seed: int, part: str, method: str) -> Path:
    """Stage 5: hypotheses.txt, errors.txt (per word), per utterance counts."""
    return asr_seed_folder(exp, system, seed) / "decode" / part / method


def hypotheses(exp: Path, system: str, seed: int, part: str, method: str) -> Path:
    """Stage 5: a line an utterance, sorted: id, tab, reference, tab, hypothesis (normalised text, either may be empty)."""
    return decode_folder(exp, system, seed, part, method) / "hypotheses.txt"


def word_alignments(decoding: Path) -> Path:
    """Stage 5: reference, hypothesis and operations of each utterance, word under word; `decoding` is a decode_folder."""
    return decoding / "alignments.txt"


def word_errors(decoding: Path) -> Path:
    """Stage 5: totals, substitutions, deletions and insertions by frequency, and the errors of each word."""
    return decoding / "errors.txt"


def utterance_counts(decoding: Path) -> Path:
    """Stage 5: a line of JSON an utterance: id, speaker, and counts of edits in words and characters."""
    return decoding / "counts.jsonl"


def decode_summary(decoding: Path) -> Path:
    """Stage 5: totals of one decoding; written last, so that a folder that has it is whole."""
    return decoding / "summary.json"


def lm_tuning(exp: Path, system: str, seed: int) -> Path:
    """Stage 5: JSON {"lm_scale": the best on valid, "wer": {scale: per cent}}."""
    return asr_seed_folder(exp, system, seed) / "decode" / "lm_scale.json"


def rescoring_tuning(exp: Path, system: str, seed: int, method: str) -> Path:
    """Stage 5: as lm_tuning, of the larger LM."""
    return asr_seed_folder(exp, system, seed) / "decode" / f"lm_scale_{method}.json"


def word_times(decoding: Path) -> Path:
    """Stage 5, on request: words.ctm."""
    return decoding / "words.ctm"


def lattice_texts(decoding: Path) -> Path:
    """Stage 5, on request: lattices in Kaldi's text form."""
    return decoding / "lattices.txt.gz"


def scores(exp: Path) -> Path:
    """Stage 5: JSON {"asr": {system: {part: {method: {...}}}}, "gain": {part: {method: {...}}}} as in report.json."""
    return exp / "scores.json"


def report(exp: Path, kind: str) -> Path:
    """kind: json, md or html; figures: the folder of the pictures that report.md links."""
    return exp / f"report.{kind}"


def log_folder(folder: Path) -> Path:
    """Text logs of every run of every stage."""
    return folder / "log"


def alignment_folder(corpus: Path) -> Path:
    """Stage 0's work in progress: what a killed run has finished, so that the next one goes on from there."""
    return corpus / "alignment"


def unaligned(corpus: Path, part: str) -> Path:
    """Stage 0: JSON {id, reason}, a line for each utterance that is used but has no phone alignment."""
    return corpus / f"unaligned_{part}.jsonl"
