#!/usr/bin/env bash
# usage: utils/setup_env.sh [--test] [--rebuild] [--help]
# Makes the Python environments of the recipe from requirements/*.txt, with uv:
#   .venv     torch 2.11 and everything for stages 0 to 3; also k2, where its authors' wheel for this torch can be downloaded
#   .venv-k2  only where it cannot: k2 1.23.4 with torch 1.13.1, for stages 4 and 5
#   --test    add what the tests need
#   --rebuild start from nothing
# Finished environments are recognized by their stamps. SPIN_BASE_PYTHON=/path/to/python names the Python (3.10 to 3.13) to use.
# SPIN_CUDA=12.6, 12.8 or 13.0 names the CUDA version of torch and k2, which otherwise follows from the NVIDIA driver and GPUs.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)
tools=$root/.env-lock # lock and uv
test=false
rebuild=false
main_files=(main.txt k2-official.txt)
. "$root/utils/log.sh"

for option in "$@"; do
  case $option in
    --test) test=true ;;
    --rebuild) rebuild=true ;;
    --help | -h) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//p}' "$0" && exit ;;
    *) echo "$0: unknown option '$option'; --help lists the options" >&2 && exit 2 ;;
  esac
done

clean_python() { # PYTHON ARGUMENT...: without the user's site-packages, PYTHON* variables and current folder
  PIP_USER=0 "$1" -I "${@:2}"
}

python_version() { # PYTHON: prints 3.11; fails where it does not run
  clean_python "$1" -S -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

choose_cuda() { # prints the CUDA version of the builds for this machine; without an NVIDIA driver that of the standard torch
  local driver capability version="" oldest=999 major=999
  if [[ -n ${SPIN_CUDA-} ]]; then
    [[ $SPIN_CUDA =~ ^(12\.6|12\.8|13\.0)$ ]] || fail "SPIN_CUDA" "'$SPIN_CUDA'" "12.6, 12.8 or 13.0" "unset SPIN_CUDA, or correct it"
    echo "$SPIN_CUDA" && return
  fi
  while IFS=', ' read -r driver capability; do
    [[ $driver =~ ^[0-9]+\. && $capability =~ ^[0-9]+\.[0-9]$ ]] || continue
    version=$driver major=${driver%%.*}
    ((oldest <= ${capability/./})) || oldest=${capability/./}
  done < <(nvidia-smi --query-gpu=driver_version,compute_cap --format=csv,noheader 2>/dev/null)
  # CUDA 13 needs driver 580, CUDA 12 driver 525 (12.8 for Blackwell 570). GPUs before Turing (7.5) have kernels in the 12.6 build only.
  if ((major < 525)); then
    fail "NVIDIA driver" "version $version" "525 or newer" "update the driver; to compute on the CPU: SPIN_CUDA=13.0 $0, and run with --device cpu"
  elif ((oldest < 75 || major < 570)); then
    echo 12.6
  elif ((major < 580)); then
    echo 12.8
  else
    echo 13.0
  fi
}

identity() { # ENVIRONMENT: what cannot change without making it again
  echo "$root/$1 python $python cuda $cuda"
}

stamp() { # ENVIRONMENT FILE...: its identity, and a digest of the requirement files it was made from
  identity "$1"
  (cd "$root/requirements" && cat "${@:2}" | sha256sum | cut -d' ' -f1)
}

is_current() { # ENVIRONMENT STAMP FILE...: whether the stamp fits and the interpreter runs
  [[ $(cat "$root/$1/.spin/$2" 2>/dev/null) == "$(stamp "$1" "${@:3}")" && $(python_version "$root/$1/bin/python") == "$python" ]]
}

k2_is_current() { # sets k2, the environment that has it
  k2=$(cat "$root/.venv/.spin/k2" 2>/dev/null) || return 1
  [[ $k2 == .venv ]] || is_current .venv-k2 stamp k2.txt
}

all_current() {
  python=$(python_version "${SPIN_BASE_PYTHON:-$root/.venv/bin/python}") || return 1
  is_current .venv stamp "${main_files[@]}" && k2_is_current || return 1
  $test || return 0
  is_current .venv tests test.txt || return 1
  [[ $k2 == .venv ]] || is_current .venv-k2 tests test-k2.txt
}

choose_python() { # sets base_python, python (3.11) and uv; the first of these that can make an environment
  local candidate refusals="" candidates=(python3.11 python3.10 python3 python3.12 python3.13)
  [[ -z ${SPIN_BASE_PYTHON-} ]] || candidates=("$SPIN_BASE_PYTHON")
  for candidate in "${candidates[@]}"; do
    base_python=$(type -P "$candidate") || base_python=$candidate
    if ! python=$(python_version "$base_python"); then
      refusals+="; $candidate does not run"
    elif [[ ! $python =~ ^3\.1[0-3]$ ]]; then
      refusals+="; $candidate is Python $python"
    elif ! clean_python "$base_python" -m venv --clear "$tools/uv" >/dev/null 2>&1; then
      refusals+="; $candidate ($python) has no venv or ensurepip module"
    else
      install_uv && return
    fi
  done
  fail "Python" "${refusals#; }" "Python 3.11 or 3.10; 3.12 and 3.13 need the official k2 wheel" \
    "install Python 3.11 with its venv module, or name one: SPIN_BASE_PYTHON=/path/to/python3.11 $0"
}

install_uv() { # uv of the tested version, and the package index that pip is configured to use
  if ! clean_python "$tools/uv/bin/python" -m pip install --no-input -r "$root/requirements/uv.txt" >"$tools/pip.log" 2>&1; then
    tail -n 3 "$tools/pip.log" >&2
    fail "package index" "pip could not install uv, see above" "a network, or a mirror set in pip's configuration" \
      "connect, or run: pip config set global.index-url <mirror>; then rerun $0"
  fi
  uv=$tools/uv/bin/uv
  local index
  index=$(clean_python "$tools/uv/bin/python" -m pip config get global.index-url 2>/dev/null) || return 0
  export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX-$index}
}

new_environment() { # ENVIRONMENT FILE: an empty environment, unless the one there was made here, by this Python and for this CUDA
  local folder=$root/$1 kept
  if ! $rebuild && [[ $(head -n 1 "$folder/.spin/stamp" 2>/dev/null) == "$(identity "$1")" ]] \
    && [[ $(python_version "$folder/bin/python") == "$python" ]]; then
    log "$1: updating it"
    rm "$folder/.spin/stamp" && return
  fi
  must_install "$1" --dry-run "$2" # nothing is deleted before the packages were found
  if [[ -d $folder && ! -d $folder/.spin && -n $(ls -A "$folder/") ]]; then
    kept=$folder.old-$(date +%Y%m%d-%H%M%S)
    mv "$folder" "$kept"
    log "$1 was made by another program: renamed to $kept"
  fi
  if [[ -L $folder && -s $folder/.spin/stamp && $(<"$folder/.spin/stamp") != "$root/"* ]]; then rm "$folder"; fi # another checkout's
  log "$1: new, with $base_python (Python $python) for CUDA $cuda"
  mkdir -p "$folder"
  find "$folder/" -mindepth 1 -delete # the folder stays: it may be a link to a larger disk
  mkdir "$folder/.spin"
  "$uv" venv --quiet --no-project --allow-existing --python "$base_python" "$folder"
  # The recipe's own package, so that .venv/bin/python imports it from any folder.
  echo "$root" >"$folder/lib/python$python/site-packages/spin_recipe.pth"
}

install() { # ENVIRONMENT ARGUMENT...: installs packages; fails with uv's own message on standard error
  local quiet=() backend=() python=$root/$1/bin/python
  [[ -t 2 ]] || quiet=(--quiet)
  [[ $cuda == 13.0 || $1 != .venv ]] || backend=(--torch-backend "cu${cuda/./}") # 13.0 is the standard torch
  [[ $* != *--dry-run* ]] || python=$tools/uv/bin/python
  "$uv" pip install "${quiet[@]}" "${backend[@]}" --python "$python" "${@:2}"
}

must_install() { # ENVIRONMENT [--dry-run] FILE
  local begun=$SECONDS
  install "${@:1:$#-1}" -r "$root/requirements/${*: -1}" || fail "$1" "uv could not install ${*: -1}, see above" \
    "all packages installed" "check the network and the free disk space (df -h), then rerun $0"
  [[ $* == *--dry-run* ]] || log "$1: ${*: -1} installed in $((SECONDS - begun)) s"
}

install_official_k2() { # into .venv; fails where it cannot be downloaded or does not import
  sed "s/cuda13\.0/cuda$cuda/" "$root/requirements/k2-official.txt" >"$tools/k2-official.txt"
  log "k2: trying the official wheel for torch 2.11 and CUDA $cuda"
  if install .venv -r "$tools/k2-official.txt" 2>"$tools/k2.log"; then
    clean_python "$root/.venv/bin/python" -c 'import k2; k2.linear_fsa([1, 2])' >"$tools/k2.log" 2>&1 && return
    "$uv" pip uninstall --quiet --python "$root/.venv/bin/python" k2
  fi
  log "k2: not usable: $(tail -n 1 "$tools/k2.log")"
  return 1
}

make_k2() { # chooses the environment of k2 and makes it; .venv/.spin/k2 names it
  k2=.venv
  if ! install_official_k2; then
    k2=.venv-k2
    log "k2: using k2 1.23.4 with torch 1.13.1 in .venv-k2 instead"
    [[ $python == 3.1[01] ]] || fail "k2" "no official wheel, and Python $python" "Python 3.11 or 3.10 for k2 1.23.4" \
      "install Python 3.11, or name one: SPIN_BASE_PYTHON=/path/to/python3.11 $0; or let this machine reach k2-fsa.github.io and huggingface.co"
    if $rebuild || ! is_current .venv-k2 stamp k2.txt; then
      new_environment .venv-k2 k2.txt
      must_install .venv-k2 k2.txt
      stamp .venv-k2 k2.txt >"$root/.venv-k2/.spin/stamp"
    fi
  fi
  echo "$k2" >"$root/.venv/.spin/k2"
}

add_tests() { # ENVIRONMENT FILE
  is_current "$1" tests "$2" && return
  must_install "$1" "$2"
  stamp "$1" "$2" >"$root/$1/.spin/tests"
}

cuda=$(choose_cuda)
if ! $rebuild && all_current; then exit; fi
mkdir -p "$tools" 2>/dev/null && [[ -w $tools && -w $root ]] \
  || fail "environments in $root" "they are not complete, and $(id -un) cannot write there" "complete environments, or the right to write" \
    "ask $(stat -c %U "$root") to run $0 $*, or work in your own copy"
exec 9>"$tools/lock"
flock -n 9 || { log "waiting for another set-up in $root" && flock 9; }
if ! $rebuild && all_current; then exit; fi
choose_python
if $rebuild || ! is_current .venv stamp "${main_files[@]}"; then
  new_environment .venv main.txt
  must_install .venv main.txt
  make_k2
  stamp .venv "${main_files[@]}" >"$root/.venv/.spin/stamp"
elif ! k2_is_current; then
  make_k2
fi
if $test; then
  add_tests .venv test.txt
  [[ $k2 == .venv ]] || add_tests .venv-k2 test-k2.txt
fi
log "environments ready: .venv, and k2 in $k2"
