#!/usr/bin/env bash
# From audio to the measured gain of Spin. Each stage calls one script of local/: open that to see what the stage does.
# With no options: the embedded corpus and encoder, on a CPU, without a network.
set -euo pipefail

stage=0            # first stage to run
stop_stage=5       # last stage to run
conf=conf/mini.yaml
corpus_dir=        # empty: as configured
exp_dir=           # empty: exp/<name in the configuration>
nj=                # empty: as configured, and so for gpus and device
gpus=
device=
set=()
force=false

about="From audio to the measured gain of Spin: 0 corpus, 1 pitch, 2 Spin, 3 units, 4 ASR training, 5 decoding and report."
options=(
  "stage       0-5            first stage to run"
  "stop_stage  0-5            last stage to run"
  "conf        file           configuration, see conf/"
  "corpus_dir  path           folder that holds LibriSpeech's parts (train-clean-100/ and its like)"
  "exp_dir     path           where results go; exp/<name in the configuration> if not given"
  "nj          1-1024         processes for work that can be split"
  "gpus        0-1024         GPUs that stage 2 trains on"
  "device      auto|cpu|cuda  where to compute"
  "set         set            overrides one key of the configuration; may be given many times"
  "force       flag           do the stages again although they are done"
)

home=$(cd "$(dirname "${BASH_SOURCE[0]}")" >/dev/null && pwd)
. "$home/utils/log.sh"
. "$home/utils/parse_options.sh"
((stage <= stop_stage)) || usage_error "--stop-stage $stop_stage comes before --stage $stage"

cd "$home"
. ./path.sh

arguments=(--conf "$conf" ${corpus_dir:+--corpus-dir "$corpus_dir"} ${exp_dir:+--exp-dir "$exp_dir"} ${nj:+--nj "$nj"}
  ${gpus:+--gpus "$gpus"} ${device:+--device "$device"} "${set[@]/#/--set=}")
if $force; then arguments+=(--force); fi

# Stage 0: manifests with lhotse, phone alignments, lexicon.
if [ "$stage" -le 0 ] && [ "$stop_stage" -ge 0 ]; then
  run_stage 0 "$SPIN_PYTHON" local/0_prepare_data.py "${arguments[@]}"
fi

# Stage 1: pitch contour and pulses, analysed once, and the pitch range of each speaker.
if [ "$stage" -le 1 ] && [ "$stop_stage" -ge 1 ]; then
  run_stage 1 "$SPIN_PYTHON" local/1_analyse_pitch.py "${arguments[@]}"
fi

# Stage 2: Spin fine-tuning of the encoder on original and perturbed speech.
if [ "$stage" -le 2 ] && [ "$stop_stage" -ge 2 ]; then
  run_stage 2 utils/launch.sh local/2_train_spin.py "${arguments[@]}"
fi

# Stage 3: units and features of the encoder before and after Spin, and their quality.
if [ "$stage" -le 3 ] && [ "$stop_stage" -ge 3 ]; then
  run_stage 3 "$SPIN_PYTHON" local/3_extract_units.py "${arguments[@]}"
fi

# Stage 4: a CTC recogniser on the frozen features of each encoder. From here on k2 is needed.
if [ "$stage" -le 4 ] && [ "$stop_stage" -ge 4 ]; then
  run_stage 4 "$SPIN_K2_PYTHON" local/4_train_asr.py "${arguments[@]}"
fi

# Stage 5: decoding, scoring, report.
if [ "$stage" -le 5 ] && [ "$stop_stage" -ge 5 ]; then
  run_stage 5 "$SPIN_K2_PYTHON" local/5_decode_and_report.py "${arguments[@]}"
fi

log "stages $stage to $stop_stage done; report.html and all logs lie below ${exp_dir:-exp}; curves and audio: tensorboard --logdir ${exp_dir:-exp}"
