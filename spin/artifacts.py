"""File names and record keys that one room writes and another reads. No other file spells them.

data/<corpus>/ belongs to stages 0 and 1 and may serve several experiments; exp/<name>/ belongs to one experiment.
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
BASELINE, SPIN, FBANK = "baseline", "spin", "fbank"  # systems that need no source
FRAME_SHIFT_IN_S = 0.02  # of encoder frames and units
HOP_IN_SAMPLES = 320  # the same in samples
PHONE_SHIFT_IN_S = 0.01  # of phone labels
SAMPLE_RATE = 16_000
SILENCE = "SIL"  # the phone label of silence, and of frames outside every alignment item

# Custom fields of lhotse cuts, and alignment tiers of supervisions.
PHONE_TIER = "phone"
WORD_TIER = "word"
PITCH_FIELD = "pitch"  # (frames,) float32, Hz, 0 where unvoiced; the fields below give its time axis
PULSES_FIELD = "pulses"  # (pulses,) float64, positions in samples of the recording
PITCH_START_FIELD = "pitch_start"  # seconds, time of the first frame
PITCH_SHIFTED_START_FIELD = (
    "pitch_shifted_start"  # seconds, where the synthesis puts the first frame (spin/perturbation/README.md)
)
PITCH_NOTE_FIELD = "pitch_note"  # "" or why the perturbation is an equaliser only
PITCH_STEP_FIELD = "pitch_step"  # seconds between frames
PITCH_FLOOR_FIELD = "pitch_floor"  # Hz, of the speaker
PITCH_CEILING_FIELD = "pitch_ceiling"  # Hz
HIDDEN_FIELD = "hidden"  # (frames, dim) float16, one layer of an encoder, or a filterbank
UNITS_FIELD = "units"  # (frames,) int32
LABELS_FIELD = "labels"  # (frames,) int32, frame labels of an auxiliary loss, on the encoder's frame grid
NOISE_FIELD = "noise"  # {"kind", "snr_in_db", "seed"}: noise that spin.data.audio adds when it reads the cut

UNITS_ID, UNITS_SEQUENCE = "id", "units"  # keys of a line of units.jsonl
REJECT_ID, REJECT_PART, REJECT_STAGE, REJECT_REASON = "id", "part", "stage", "reason"


# data/<corpus>/
def corpus_folder(data_dir: str | Path, corpus_name: str) -> Path:
    return Path(data_dir) / corpus_name


def cuts(corpus: Path, part: str) -> Path:
    """Stage 0: one MonoCut per utterance with one supervision (text, speaker, alignment)."""
    return corpus / f"cuts_{part}.jsonl.gz"


def unaligned(corpus: Path, part: str) -> Path:
    """Stage 0: JSON {id, reason} per utterance that is used but has no phone alignment."""
    return corpus / f"unaligned_{part}.jsonl"


def rejects(folder: Path, name: str) -> Path:
    """One line of JSON per utterance that a stage could not use; `name` is the part or the stage."""
    return folder / f"rejects_{name}.jsonl"


def generated_audio(corpus: Path) -> Path:
    return corpus / "audio"


def alignment_folder(corpus: Path) -> Path:
    """Stage 0's finished alignments, from which an interrupted run resumes."""
    return corpus / "alignment"


def lexicon(corpus: Path, variants: bool = False) -> Path:
    """Stage 0: word, tab, phones separated by spaces. `variants`: all pronunciations but the first."""
    return corpus / ("lexicon_variants.txt" if variants else "lexicon.txt")


def lm_text(corpus: Path) -> Path:
    """Stage 0: normalised sentences for the n-gram LM, one per line."""
    return corpus / "lm_text.txt"


def speaker_pitch(corpus: Path) -> Path:
    """Stage 1: JSON, speaker -> {floor, ceiling, median} in Hz."""
    return corpus / "speaker_pitch.json"


def pitch_folder(corpus: Path, part: str) -> Path:
    return corpus / "pitch" / part


def pitch_cuts(corpus: Path, part: str) -> Path:
    """Stage 1: the cuts of stage 0 with pitch contour, pulses and pitch range."""
    return cuts_in(pitch_folder(corpus, part))


def cuts_in(folder: Path) -> Path:
    """The manifest of a folder product."""
    return folder / "cuts.jsonl.gz"


# exp/<name>/
def config_file(exp: Path) -> Path:
    return exp / "config.yaml"


def tensorboard(exp: Path, stage: int) -> Path:
    return exp / "tensorboard" / f"{stage}_{STAGES[stage]}"


def log_folder(folder: Path) -> Path:
    """Text logs of every run of every stage."""
    return folder / "log"


def spin_folder(exp: Path) -> Path:
    """Stage 2: model, history, checkpoints."""
    return exp / "spin"


def spin_model(exp: Path) -> Path:
    """Stage 2: encoder, head and codebook in one safetensors file."""
    return model_in(spin_folder(exp))


def model_in(folder: Path) -> Path:
    return folder / "model.safetensors"


def history_in(folder: Path) -> Path:
    """One line of JSON per validation of a training."""
    return folder / "history.jsonl"


def features_folder(exp: Path, system: str, part: str) -> Path:
    """Stage 3: the cuts of stage 0 with HIDDEN_FIELD; also units.jsonl where the system has a codebook."""
    return exp / "features" / system / part


def kmeans(exp: Path, system: str) -> Path:
    """Stage 3: cluster centres of a system without a codebook; safetensors key `centres` (K, dim) float32."""
    return exp / "units" / system / "kmeans.safetensors"


def units_folder(exp: Path, system: str, part: str) -> Path:
    """Stage 3: units.jsonl, and cuts with UNITS_FIELD."""
    return exp / "units" / system / part


def units_lines(folder: Path) -> Path:
    """One line of JSON per utterance: UNITS_ID, UNITS_SEQUENCE."""
    return folder / "units.jsonl"


def codebook_in(folder: Path) -> Path:
    """Stage 3: JSON {"codebook_size": K} next to units.jsonl."""
    return folder / "codebook.json"


def metrics_folder(exp: Path, system: str) -> Path:
    """Stage 3: metrics.json and phone_counts.npz of one system on the test parts."""
    return exp / "metrics" / system


def metrics_in(folder: Path) -> Path:
    return folder / "metrics.json"


def phone_counts_in(folder: Path) -> Path:
    """npz: `phones` (P,) str, `counts` (P, K) int64 frames of 10 ms."""
    return folder / "phone_counts.npz"


def lang_folder(exp: Path) -> Path:
    """Stage 4: tokens.txt, words.txt, lexicon.txt, L and L_disambig as safetensors, bpe.model if any."""
    return exp / "lang"


def training_tokens_in(folder: Path) -> Path:
    """Stage 4: what recognisers read of the lang folder."""
    return folder / "training_tokens.txt"


def recogniser_folder(exp: Path, system: str, source: str, seed: int) -> Path:
    """Stage 4: best.safetensors, history.jsonl. `source` is what the recogniser reads: features or units."""
    return exp / "asr" / system / source / f"seed{seed}"


def asr_model_in(folder: Path) -> Path:
    """The checkpoint that was best on the valid parts."""
    return folder / "best.safetensors"


def graph_folder(exp: Path, order: int, kind: str = "HLG") -> Path:
    """Stage 5: n-gram LM and decoding graph. kind: HLG (search) or G (rescoring)."""
    return exp / "graphs" / f"{kind}_{order}gram"


def tuning(exp: Path, system: str, source: str, seed: int, method: str) -> Path:
    """Stage 5: JSON {"wer": {LM scale: percent on the valid parts}} of one recogniser and method."""
    return exp / "decode" / system / source / f"seed{seed}" / f"lm_scales_{method}.json"


def decoding_folder(exp: Path, system: str, source: str, seed: int, part: str, method: str) -> Path:
    """Stage 5: hypotheses.txt, alignments.txt, errors.txt, counts.jsonl, summary.json."""
    return exp / "decode" / system / source / f"seed{seed}" / part / method


def hypotheses(decoding: Path) -> Path:
    """One line per utterance, sorted: id, tab, reference, tab, hypothesis (normalised text, either may be empty)."""
    return decoding / "hypotheses.txt"


def word_alignments(decoding: Path) -> Path:
    """Reference, hypothesis and operations of each utterance, word under word."""
    return decoding / "alignments.txt"


def word_errors(decoding: Path) -> Path:
    """Totals; substitutions, deletions and insertions by frequency; the errors of each word."""
    return decoding / "errors.txt"


def utterance_counts(decoding: Path) -> Path:
    """One line of JSON per utterance: id, speaker, and counts of edits in words and characters."""
    return decoding / "counts.jsonl"


def decode_summary(decoding: Path) -> Path:
    """Totals of one decoding, with the LM scale that was used."""
    return decoding / "summary.json"


def scores(exp: Path) -> Path:
    """Stage 5: JSON {"asr": ..., "gain": ...} as in report.json."""
    return exp / "scores.json"


def report(exp: Path, kind: str) -> Path:
    """kind: json, md or html."""
    return exp / f"report.{kind}"
