#!/usr/bin/env bash
# usage: ./run.sh [--stage N] [--stop-stage N] [OPTION...]
# From audio to the measured gain of Spin. Each stage runs one script of local/: open it to see what the stage does.
# Without options: the embedded corpus and encoder, on a CPU, without a network.
#   --stage N       first stage to run, 0 to 5 (default: 0)
#   --stop-stage N  last stage to run (default: 5)
# All other options go to every stage. Relative paths are taken from this folder.
set -euo pipefail

stage=0
stop_stage=5
options=(--conf conf/mini.yaml) # a later --conf wins

cd "$(dirname "${BASH_SOURCE[0]}")"
. utils/log.sh

usage_error() { # MESSAGE
  printf '%s: %s\n%s\n' "$0" "$1" "usage: $0 [--stage N] [--stop-stage N] [OPTION...]; --help lists the options" >&2
  exit 2
}

print_help() { # the comment above, then the options of the stages where the environment exists
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' run.sh
  [ ! -x ../../.venv/bin/python ] || PYTHONPATH=../.. ../../.venv/bin/python local/0_prepare_data.py --help | sed -n '/^options:/,$p'
}

while (($#)); do
  case $1 in
    --stage | --stop-stage)
      [[ ${2-} =~ ^[0-5]$ ]] || usage_error "$1: expected a stage from 0 to 5, found '${2-}'"
      if [[ $1 == --stage ]]; then stage=$2; else stop_stage=$2; fi
      shift 2
      ;;
    --stage=* | --stop-stage=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --help | -h) print_help && exit ;;
    *) options+=("$1") && shift ;;
  esac
done
((stage <= stop_stage)) || usage_error "--stop-stage $stop_stage comes before --stage $stage"

. ./path.sh
# Wrong options, a wrong configuration, or a GPU that torch or k2 cannot use end the run here, not hours later.
"$SPIN_PYTHON" -m spin check-device "${options[@]}" --stop-stage "$stop_stage"

# Stage 0: manifests of the corpus, phone alignments, lexicon.
if [ "$stage" -le 0 ] && [ "$stop_stage" -ge 0 ]; then
  run_stage 0 "$SPIN_PYTHON" local/0_prepare_data.py "${options[@]}"
fi

# Stage 1: pitch contours and pulses, analysed once, and the pitch range of each speaker.
if [ "$stage" -le 1 ] && [ "$stop_stage" -ge 1 ]; then
  run_stage 1 "$SPIN_PYTHON" local/1_analyse_pitch.py "${options[@]}"
fi

# Stage 2: Spin fine-tuning of the encoder on original and perturbed speech.
if [ "$stage" -le 2 ] && [ "$stop_stage" -ge 2 ]; then
  run_stage 2 utils/launch.sh local/2_train_spin.py "${options[@]}"
fi

# Stage 3: features and units of every system, and the quality of the units.
if [ "$stage" -le 3 ] && [ "$stop_stage" -ge 3 ]; then
  run_stage 3 "$SPIN_PYTHON" local/3_extract_units.py "${options[@]}"
fi

# Stage 4: CTC recognisers on the features or units of every system. From here on k2 is needed.
if [ "$stage" -le 4 ] && [ "$stop_stage" -ge 4 ]; then
  run_stage 4 "$SPIN_K2_PYTHON" local/4_train_asr.py "${options[@]}"
fi

# Stage 5: decoding, scoring, report.
if [ "$stage" -le 5 ] && [ "$stop_stage" -ge 5 ]; then
  run_stage 5 "$SPIN_K2_PYTHON" local/5_decode_and_report.py "${options[@]}"
fi

log "stages $stage to $stop_stage done; curves and audio: tensorboard --logdir exp"
