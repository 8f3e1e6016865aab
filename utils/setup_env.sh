#!/usr/bin/env bash
# Makes the Python environments from requirements/*.txt:
#   .venv     torch 2.11 and everything of stages 0 to 3; also k2, where its authors' wheel for this torch can be had
#   .venv-k2  only where it cannot: k2 1.23.4 with torch 1.13.1, for stages 4 and 5
# Does nothing when they are as they were left. An environment that is half made, damaged or out of date is made good or made again;
# one that something else made is taken over when it fits, and moved aside when it does not. .venv/.spin/k2 names the one that has k2.
set -euo pipefail

setup_version=1 # a change makes every environment be looked at again
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)
home=$root

test=false
check=false
rebuild=false
# shellcheck disable=SC2034  # read by parse_options.sh
{
  about="Makes the Python environments of the recipe. SPIN_BASE_PYTHON=/path/to/python says which Python they are made from."
  options=(
    "test     flag  add what the tests need"
    "check    flag  only say whether the environments are as they should be (status 1 if not), reading every file's size"
    "rebuild  flag  make them again from nothing"
  )
}
. "$root/utils/log.sh"
. "$root/utils/parse_options.sh"
. "$root/utils/environment.sh"

main_files=(main.txt k2-official.txt)
k2_files=(k2.txt k2-wheel.txt)
main_imports=(torch torchaudio lhotse soundfile sentencepiece numba scipy sklearn matplotlib kaldialign kaldilm kaldingram pocketsphinx
  espeakng_loader safetensors tqdm yaml torch.utils.tensorboard)
k2_imports=(k2 torch lhotse soundfile sentencepiece matplotlib kaldialign kaldilm kaldingram safetensors tqdm yaml torch.utils.tensorboard)
notes=$root/.env-lock

k2_home() { # the environment that has k2; nothing when that is not settled
  cat "$root/.venv/.spin/k2" 2>/dev/null || true
}

tests_recorded() { # ENVIRONMENT FILE: whether the test requirements were added as they are now
  [[ -f $root/$1/.spin/tests && $(<"$root/$1/.spin/tests") == "$(fingerprint "$1" "$2")" ]]
}

all_current() {
  [[ -z $(why_not .venv "${main_files[@]}") && -n $(k2_home) ]] || return 1
  [[ $(k2_home) == .venv || -z $(why_not .venv-k2 "${k2_files[@]}") ]] || return 1
  $test || return 0
  tests_recorded .venv test.txt || return 1
  [[ $(k2_home) == .venv ]] || tests_recorded .venv-k2 test-k2.txt
}

whole() { # ENVIRONMENT: every pin, file and import of it is as it should be; problems go to .env-lock/problems
  local imports=("${main_imports[@]}") files=("$root/requirements/main.txt")
  if [[ $1 == .venv-k2 ]]; then
    imports=("${k2_imports[@]}") files=("${k2_files[@]/#/$root/requirements/}")
  fi
  [[ -x $root/$1/bin/python ]] || { echo "no interpreter" >"$notes/problems" && return 1; }
  clean_python "$root/$1/bin/python" "$root/utils/check_environment.py" "${files[@]}" --imports "${imports[@]}" >"$notes/problems" 2>&1
}

pip_install() { # ENVIRONMENT ARGUMENT...: output in .env-lock/pip.log, its end shown on failure
  local environment=$1 begun=$SECONDS
  shift
  if ! clean_python "$root/$environment/bin/python" -m pip install --no-input --progress-bar off "$@" >"$notes/pip.log" 2>&1; then
    grep -v '^WARNING' "$notes/pip.log" | tail -n 8 >&2
    fail "$environment: pip install $*" "pip failed, see above and $notes/pip.log" "all packages installed" \
      "look for a lost network or a full disk (df -h), then start again: it goes on by itself"
  fi
  log "$environment: installed in $((SECONDS - begun)) s"
}

clear_away() { # ENVIRONMENT: what this script made is deleted; what something else made is moved aside
  local folder=$root/$1 aside
  if [[ -d $folder/.spin ]]; then
    log "$1: clearing the old one away"
    find "$folder/" -mindepth 1 -delete # the folder stays: it may be a link to a larger disk
  elif [[ -e $folder || -L $folder ]] && [[ ! -d $folder || -n $(ls -A "$folder/") ]]; then
    aside=$folder.aside-$(date +%Y%m%d-%H%M%S)
    mv "$folder" "$aside"
    log "$1 was made by something else and does not fit: moved to $aside"
  fi
}

start_anew() { # ENVIRONMENT GIB: an empty environment of the chosen Python; .spin/ says from the start whose it is
  [[ -n ${base_python-} ]] || { log "looking for a Python, the package index and k2's own wheels" && choose_python; }
  clear_away "$1"
  mkdir -p "$root/$1/.spin"
  check_disk "$2" "$root/$1/"
  check_temporary_disk
  log "$1: new, from $base_python (Python $base_version)"
  clean_python "$base_python" -m venv "$root/$1"
}

fits() { # ENVIRONMENT REASON: takes the environment as it is when nothing is wrong with it
  $rebuild && log "$1: made again (--rebuild)" && return 1
  log "$1: $2"
  [[ -d $root/$1 && $2 != *SPIN_BASE_PYTHON* && $2 != *" is gone" ]] || return 1
  whole "$1" && log "$1: everything it needs is there: taken as it is"
}

make_main() {
  local reason
  reason=$(why_not .venv "${main_files[@]}")
  if ! $rebuild && [[ -z $reason ]]; then return; fi
  if ! fits .venv "$reason"; then
    start_anew .venv 10
    log ".venv: installing torch 2.11 and the rest of requirements/main.txt (about 5 GB; a minute or two on a fast line)"
    pip_install .venv -r "$root/requirements/main.txt"
    whole .venv || fail ".venv" "$(<"$notes/problems")" "every package whole and importable" "$0 --rebuild; if it stays, see $notes/pip.log"
  fi
  record .venv "${main_files[@]}"
}

add_official_k2() { # k2 of its authors into .venv; status 1 when it cannot be had or does not work there
  if [[ -z ${official_k2-} ]]; then # .venv was not made in this run
    if official_k2_listed "$root/.venv/bin/python"; then official_k2=true; else official_k2=false; fi
  fi
  $official_k2 || { log "k2: the official wheel for torch 2.11 is not to be had: k2 1.23.4 goes into .venv-k2" && return 1; }
  log "k2: the official wheel for torch 2.11 goes into .venv"
  pip_install .venv -r "$root/requirements/k2-official.txt"
  clean_python "$root/.venv/bin/python" -c 'import k2; k2.linear_fsa([1, 2])' >"$notes/problems" 2>&1 && return 0
  tail -n 2 "$notes/problems" >&2
  log "k2: the official wheel does not work here: k2 1.23.4 goes into .venv-k2"
  clean_python "$root/.venv/bin/python" -m pip uninstall --quiet --yes k2
  case $(<"$root/.venv/.spin/python") in
    3.12.* | 3.13.*) fail "k2" "the official wheel does not work here, with Python $(<"$root/.venv/.spin/python")" "Python 3.10 or 3.11" "$remedy_python" ;;
  esac
  return 1
}

choose_k2() { # once an environment: writes .venv/.spin/k2
  [[ -z $(k2_home) ]] || return 0
  local choice=.venv-k2
  if clean_python "$root/.venv/bin/python" -c 'import k2; k2.linear_fsa([1, 2])' 2>/dev/null || add_official_k2; then choice=.venv; fi
  record .venv "${main_files[@]}"
  echo "$choice" >"$root/.venv/.spin/k2"
}

make_k2() {
  local reason
  [[ $(k2_home) == .venv-k2 ]] || return 0
  reason=$(why_not .venv-k2 "${k2_files[@]}")
  if ! $rebuild && [[ -z $reason ]]; then return; fi
  if ! fits .venv-k2 "$reason"; then
    start_anew .venv-k2 5
    log ".venv-k2: installing torch 1.13.1 and the rest of requirements/k2.txt (about 3 GB; a minute or two on a fast line)"
    pip_install .venv-k2 -r "$root/requirements/k2.txt"
    pip_install .venv-k2 --no-deps -r "$root/requirements/k2-wheel.txt"
    whole .venv-k2 || fail ".venv-k2" "$(<"$notes/problems")" "every package whole and importable" "$0 --rebuild; if it stays, see $notes/pip.log"
  fi
  record .venv-k2 "${k2_files[@]}"
}

add_tests() { # ENVIRONMENT FILE STAMP_FILE...: what the tests need, into an environment that is made
  local environment=$1 file=$2
  if tests_recorded "$environment" "$file"; then return; fi
  log "$environment: adding what the tests need"
  pip_install "$environment" -r "$root/requirements/$file"
  record "$environment" "${@:3}"
  fingerprint "$environment" "$file" >"$root/$environment/.spin/tests"
}

require_rights() { # ARGUMENT...: before anything is made, who may not write here is told so, and why there is something to write at all
  local place places=("$notes/lock" "$root/.venv") user
  [[ $(k2_home) == .venv ]] || places+=("$root/.venv-k2")
  for place in "${places[@]}"; do
    until [[ -e $place ]]; do place=$(dirname "$place"); done
    [[ ! -w $place ]] || continue
    user=$(id -un)
    fail "environments in $root" "$(needed), and $user has no right to write to $place" \
      "environments that $user can run as they are, or the right to write" \
      "let $(stat -c %U "$place") run $0${*:+ $*} and give everyone the right to read them and to run their Python \
(chmod -R a+rX, also for the Python they are made from), or work in a copy of your own"
  done
}

needed() { # prints why the environments are not taken as they are
  local reason
  reason=$(why_not .venv "${main_files[@]}" 2>/dev/null)
  [[ -z $reason ]] || { echo ".venv: $reason" && return; }
  if [[ $(k2_home) == .venv-k2 ]]; then reason=$(why_not .venv-k2 "${k2_files[@]}" 2>/dev/null); fi
  [[ -z $reason ]] || { echo ".venv-k2: $reason" && return; }
  if $rebuild; then echo "--rebuild makes them again"; elif $test; then echo "--test adds what the tests need"; else echo "k2 has no place yet"; fi
}

check_only() { # changes nothing, and needs no right to write
  local environment status=0
  notes=$(mktemp -d)
  trap 'rm -rf "$notes"' EXIT
  for environment in .venv $(k2_home | grep -vx .venv); do
    if whole "$environment"; then log "$environment: whole"; else log_error "$environment: $(<"$notes/problems")" && status=1; fi
  done
  all_current || status=1
  exit "$status"
}

if $check; then check_only; fi
if ! $rebuild && all_current; then exit 0; fi
require_rights "$@"
mkdir -p "$notes"
exec 9>"$notes/lock"
flock -n 9 || { log "another set-up works in $root: waiting for it" && flock 9; }
if ! $rebuild && all_current; then exit 0; fi
trap 'rm -rf "$notes"/scratch.*' EXIT
make_main
choose_k2
make_k2
if $test; then
  add_tests .venv test.txt "${main_files[@]}"
  [[ $(k2_home) == .venv ]] || add_tests .venv-k2 test-k2.txt "${k2_files[@]}"
fi
log "environments ready: .venv, and k2 in $(k2_home)"
