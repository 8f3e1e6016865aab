"""File names and record keys that one room writes and another reads. No other file spells them.

data/<corpus>/ belongs to stages 0 and 1 and may serve several experiments; exp/<name>/ belongs to one experiment.
"""

from collections.abc import Callable
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
NOISE_FIELD = "noise"  # {"kind", "snr_in_db", "seed"}: noise that spin.data.audio adds when it reads the cut

UNITS_ID, UNITS_SEQUENCE = "id", "units"  # keys of a line of units.jsonl
REJECT_ID, REJECT_PART, REJECT_STAGE, REJECT_REASON = "id", "part", "stage", "reason"


def _named(name: str) -> Callable[[Path], Path]:
    """A function from a folder to what has that name in it."""
    return lambda folder: folder / name


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


def lexicon(corpus: Path, variants: bool = False) -> Path:
    """Stage 0: word, tab, phones separated by spaces. `variants`: all pronunciations but the first."""
    return corpus / ("lexicon_variants.txt" if variants else "lexicon.txt")


lm_text = _named("lm_text.txt")  # stage 0: normalised sentences for the n-gram LM, one per line
generated_audio = _named("audio")
alignment_folder = _named("alignment")  # stage 0's finished alignments, from which an interrupted run resumes
speaker_pitch = _named("speaker_pitch.json")  # stage 1: speaker -> {floor, ceiling, median} in Hz
cuts_in = _named("cuts.jsonl.gz")  # the manifest of a folder product


def pitch_folder(corpus: Path, part: str) -> Path:
    return corpus / "pitch" / part


def pitch_cuts(corpus: Path, part: str) -> Path:
    """Stage 1: the cuts of stage 0 with pitch contour, pulses and pitch range."""
    return cuts_in(pitch_folder(corpus, part))


# exp/<name>/
config_file = _named("config.yaml")
log_folder = _named("log")  # text logs of every run of every stage
spin_folder = _named("spin")  # stage 2: model, history, checkpoints
lang_folder = _named("lang")  # stage 4: tokens, words, lexicon (*.txt), bpe.model if any
scores = _named("scores.json")  # stage 5: {"asr": ..., "gain": ...} as in report.json


def tensorboard(exp: Path, stage: int) -> Path:
    return exp / "tensorboard" / f"{stage}_{STAGES[stage]}"


def spin_model(exp: Path) -> Path:
    """Stage 2: encoder, head and codebook in one safetensors file."""
    return model_in(spin_folder(exp))


def features_folder(exp: Path, system: str, part: str) -> Path:
    """Stage 3: the cuts of stage 0 with HIDDEN_FIELD; also units.jsonl where the system has a codebook."""
    return exp / "features" / system / part


def kmeans(exp: Path, system: str) -> Path:
    """Stage 3: cluster centres of a system without a codebook; safetensors key `centres` (K, dim) float32."""
    return exp / "units" / system / "kmeans.safetensors"


def units_folder(exp: Path, system: str, part: str) -> Path:
    """Stage 3: units.jsonl, and cuts with UNITS_FIELD."""
    return exp / "units" / system / part


def metrics_folder(exp: Path, system: str) -> Path:
    """Stage 3: metrics.json and phone_counts.npz of one system on the test parts."""
    return exp / "metrics" / system


def recogniser_folder(exp: Path, system: str, input_kind: str, seed: int) -> Path:
    """Stage 4: best.safetensors, history.jsonl. `input_kind` is what the recogniser reads: features or units."""
    return exp / "asr" / system / input_kind / f"seed{seed}"


def graph_folder(exp: Path, order: int, kind: str = "HLG") -> Path:
    """Stage 5: n-gram LM and decoding graph. kind: HLG (search) or G (rescoring)."""
    return exp / "graphs" / f"{kind}_{order}gram"


def tuning(exp: Path, system: str, input_kind: str, seed: int, method: str) -> Path:
    """Stage 5: JSON {"wer": {LM scale: percent on the valid parts}} of one recogniser and method."""
    return exp / "decode" / system / input_kind / f"seed{seed}" / f"lm_scales_{method}.json"


def decoding_folder(exp: Path, system: str, input_kind: str, seed: int, part: str, method: str) -> Path:
    """Stage 5: hypotheses.txt, alignments.txt, errors.txt, counts.jsonl, summary.json."""
    return exp / "decode" / system / input_kind / f"seed{seed}" / part / method


def report(exp: Path, kind: str) -> Path:
    """kind: json, md or html."""
    return exp / f"report.{kind}"


# Files of folder products
model_in = _named("model.safetensors")
history_in = _named("history.jsonl")  # one line of JSON per validation of a training
units_lines = _named("units.jsonl")  # one line of JSON per utterance: UNITS_ID, UNITS_SEQUENCE
codebook_in = _named("codebook.json")  # {"codebook_size": K} next to units.jsonl
metrics_in = _named("metrics.json")
phone_counts_in = _named("phone_counts.npz")  # `phones` (P,) str, `counts` (P, K) int64 frames of 10 ms
training_tokens_in = _named("training_tokens.txt")  # what recognisers read of the lang folder
asr_model_in = _named("best.safetensors")  # the checkpoint that was best on the valid parts
hypotheses = _named("hypotheses.txt")  # per utterance: id, tab, reference, tab, hypothesis (normalised, either may be empty)
word_alignments = _named("alignments.txt")  # reference, hypothesis and operations of each utterance, word under word
word_errors = _named("errors.txt")  # totals; edits by frequency; the errors of each word
utterance_counts = _named("counts.jsonl")  # per utterance: id, speaker, and counts of edits in words and characters
decode_summary = _named("summary.json")  # totals of one decoding, with the LM scale that was used
