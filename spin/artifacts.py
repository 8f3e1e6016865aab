"""File names and record keys that one room writes and another reads. No other file spells them.

data/<corpus>/ belongs to stages 0 and 1 and may serve several experiments; exp/<name>/ belongs to one experiment.
"""

import re
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
BASELINE, SPIN, FBANK = "baseline", "spin", "fbank"  # systems that need no source
FRAME_SHIFT_IN_S = 0.02  # of encoder frames and units
HOP_IN_SAMPLES = 320  # the same in samples
PHONE_SHIFT_IN_S = 0.01  # of phone labels
SAMPLE_RATE = 16_000
SILENCE = "SIL"  # the phone label of silence, and of frames outside every alignment item

# Custom fields of lhotse cuts, and alignment tiers of supervisions.
PHONE_TIER = "phone"
WORD_TIER = "word"
HIDDEN_FIELD = "hidden"  # (frames, dim) float16, one layer of an encoder, or a filterbank
UNITS_FIELD = "units"  # (frames,) int32
LABELS_FIELD = "labels"  # (frames,) int32, frame labels of an auxiliary loss, on the encoder's frame grid
NOISE_FIELD = "noise"  # {"kind", "snr_in_db", "seed"}: noise that spin.data.audio adds when it reads the cut

UNITS_ID, UNITS_SEQUENCE = "id", "units"  # keys of a line of units.jsonl
REJECT_ID, REJECT_PART, REJECT_STAGE, REJECT_REASON = "id", "part", "stage", "reason"


def _path(template: str) -> Callable[..., Path]:
    """A function from a folder and values, in the order of the names in braces, to a path below the folder."""
    names = re.findall(r"{(\w+)}", template)

    def path(folder: str | Path, *values) -> Path:
        return Path(folder) / template.format(**dict(zip(names, values, strict=True)))

    return path


# data/<corpus>/; the folder given is data_dir
corpus_folder = _path("{corpus}")
# The folder given is that of the corpus.
cuts = _path("cuts_{part}.jsonl.gz")  # stage 0: one MonoCut per utterance with one supervision (text, speaker, alignment)
unaligned = _path("unaligned_{part}.jsonl")  # stage 0: {id, reason} per utterance that is used but has no phone alignment
lexicon = _path("lexicon.txt")  # stage 0: word, tab, phones separated by spaces
lexicon_variants = _path("lexicon_variants.txt")  # the same: all pronunciations but the first
lm_text = _path("lm_text.txt")  # stage 0: normalised sentences for the n-gram LM, one per line
generated_audio = _path("audio")
alignment_folder = _path("alignment")  # stage 0's finished alignments, from which an interrupted run resumes
speaker_pitch = _path("speaker_pitch.json")  # stage 1: speaker -> {floor, ceiling, median} in Hz
pitch_folder = _path("pitch/{part}")
pitch_cuts = _path("pitch/{part}/cuts.jsonl.gz")  # stage 1: the cuts of stage 0 with pitch contour, pulses and pitch range

# exp/<name>/; the folder given is that of the experiment
config_file = _path("config.yaml")
log_folder = _path("log")  # text logs of every run of every stage
spin_folder = _path("spin")  # stage 2: model, history, checkpoints
spin_model = _path("spin/model.safetensors")  # encoder, head and codebook
features_folder = _path("features/{system}/{part}")  # stage 3: cuts with HIDDEN_FIELD; units.jsonl where there is a codebook
kmeans = _path("units/{system}/kmeans.safetensors")  # stage 3, without a codebook: `centres` (K, dim) float32
units_folder = _path("units/{system}/{part}")  # stage 3: units.jsonl, and cuts with UNITS_FIELD
metrics_folder = _path("metrics/{system}")  # stage 3: metrics.json and phone_counts.npz of the test parts
lang_folder = _path("lang")  # stage 4: tokens, words, lexicon (*.txt), bpe.model if any
# Stages 4 and 5; input_kind is what the recogniser reads: features or units
recogniser_folder = _path("asr/{system}/{input_kind}/seed{seed}")  # best.safetensors, history.jsonl
graph_folder = _path("graphs/{kind}_{order}gram")  # n-gram LM and decoding graph; kind: HLG (search) or G (rescoring)
tuning = _path("decode/{system}/{input_kind}/seed{seed}/lm_scales_{method}.json")  # {"wer": {LM scale: percent on valid}}
decoding_folder = _path("decode/{system}/{input_kind}/seed{seed}/{part}/{method}")  # *.txt, counts.jsonl, summary.json
scores = _path("scores.json")  # stage 5: {"asr": ..., "gain": ...} as in report.json
report = _path("report.{kind}")  # stage 5; kind: json, md or html


def tensorboard(exp: Path, stage: int) -> Path:
    """Folder of a stage's event files."""
    return exp / "tensorboard" / f"{stage}_{STAGES[stage]}"


# Files of folder products; the folder given is the product's
cuts_in = _path("cuts.jsonl.gz")  # the manifest
rejects = _path("rejects_{name}.jsonl")  # {id, part, stage, reason} per utterance that could not be used; name: part or stage
model_in = _path("model.safetensors")
history_in = _path("history.jsonl")  # one line of JSON per validation of a training
units_lines = _path("units.jsonl")  # one line of JSON per utterance: UNITS_ID, UNITS_SEQUENCE
codebook_in = _path("codebook.json")  # {"codebook_size": K} next to units.jsonl
metrics_in = _path("metrics.json")
phone_counts_in = _path("phone_counts.npz")  # `phones` (P,) str, `counts` (P, K) int64 frames of 10 ms
training_tokens_in = _path("training_tokens.txt")  # what recognisers read of the lang folder
asr_model_in = _path("best.safetensors")  # the checkpoint that was best on the valid parts
hypotheses = _path("hypotheses.txt")  # per utterance: id, tab, reference, tab, hypothesis (normalised, either may be empty)
word_alignments = _path("alignments.txt")  # reference, hypothesis and operations of each utterance, word under word
word_errors = _path("errors.txt")  # totals; edits by frequency; the errors of each word
utterance_counts = _path("counts.jsonl")  # per utterance: id, speaker, and counts of edits in words and characters
decode_summary = _path("summary.json")  # totals of one decoding, with the LM scale that was used
