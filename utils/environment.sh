# Sourced by setup_env.sh. Looks at what is there: interpreters, disk, package index, environments. Makes nothing but a scratch
# environment, which it removes. Expects `root`, the folder of the repository, `setup_version` and log.sh.
# shellcheck disable=SC2034,SC2154  # variables shared with setup_env.sh

remedy_python="install Python 3.11 (or 3.10) with its venv module, or name one: SPIN_BASE_PYTHON=/path/to/python3.11 $0"

clean_python() { # PYTHON ARGUMENT...: without the user's site-packages, PYTHON* variables and current folder
  local python=$1
  shift
  PIP_USER=0 "$python" -I "$@"
}

python_version() { # PYTHON: prints 3.11.7; status 1 when it does not run
  clean_python "$1" -S -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null
}

listing() { # ENVIRONMENT: two levels of installed names; reading names is cheap, and loss of a package or a part of it shows
  (cd "$root/$1" && find bin lib/python3*/site-packages -maxdepth 2 -name __pycache__ -prune -o -print) 2>/dev/null | LC_ALL=C sort
}

fingerprint() { # ENVIRONMENT FILE...: what the stamp says when the environment was made from these requirement files, here
  local environment=$1
  shift
  echo "made by version $setup_version in $root/$environment from $(cd "$root/requirements" && cat "$@" | sha256sum | cut -d' ' -f1)"
}

why_not() { # ENVIRONMENT FILE...: prints why the environment must be made or made good; nothing when it is as it was recorded
  local environment=$1 folder=$root/$1 version wanted lost
  [[ -d $folder ]] || { echo "not made yet" && return; }
  [[ -f $folder/.spin/stamp ]] || { echo "not finished, or made by something else" && return; }
  [[ $(<"$folder/.spin/stamp") == "$(fingerprint "$@")" ]] || { echo "its requirements, its place or setup_env.sh changed" && return; }
  version=$(python_version "$folder/bin/python") || { echo "its Python interpreter does not run" && return; }
  [[ $version == "$(<"$folder/.spin/python")" ]] || { echo "its Python was $(<"$folder/.spin/python") and is now $version" && return; }
  if [[ -n ${SPIN_BASE_PYTHON-} ]]; then
    wanted=$(python_version "$SPIN_BASE_PYTHON") && [[ ${wanted%.*} != "${version%.*}" ]] \
      && echo "it has Python $version, and SPIN_BASE_PYTHON is $wanted" && return
  fi
  lost=$(LC_ALL=C comm -23 "$folder/.spin/contents" <(listing "$environment") | sed -n 1p)
  [[ -z $lost ]] || echo "$lost is gone"
}

record() { # ENVIRONMENT FILE...: remembers the state that why_not compares with; the stamp comes last
  local notes=$root/$1/.spin
  mkdir -p "$notes"
  # The recipe's own package: .venv/bin/python imports it wherever it is started.
  echo "$root" >"$(clean_python "$root/$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/spin_recipe.pth"
  listing "$1" >"$notes/contents"
  python_version "$root/$1/bin/python" >"$notes/python"
  fingerprint "$@" >"$notes/stamp.new"
  mv "$notes/stamp.new" "$notes/stamp"
}

check_disk() { # GIB FOLDER
  local free
  free=$(df -Pk "$2" | awk 'NR == 2 { print int($4 / 1048576) }')
  ((free >= $1)) || fail "disk space in $2" "$free GiB free" "at least $1 GiB" \
    "make room; for the folder of temporary files, name another with TMPDIR=/path $0"
}

check_temporary_disk() { # pip keeps a whole download in the folder of temporary files before it installs it
  local temporary=${TMPDIR:-/tmp}
  [[ $(stat -c %d "$temporary") == "$(stat -c %d "$root")" ]] || check_disk 4 "$temporary"
}

official_k2_listed() { # PYTHON: whether the official k2 wheel for our torch can be had for this Python; short time limits
  local file=$root/requirements/k2-official.txt pin link
  pin=$(sed -n 's/^k2==//p' "$file")
  link=$(sed -n 's/^--find-links //p' "$file")
  # The answer is kept whole before it is searched: grep -q would close the pipe on pip.
  local answer
  answer=$(timeout 20 "$1" -I -m pip index versions k2 --pre --timeout 5 --retries 0 --find-links "$link" 2>/dev/null) || return 1
  grep -qF "$pin" <<<"$answer"
}

index_reached() { # PYTHON FILE: whether pip finds the torch of main.txt; a small package might be in a cache or a partial mirror
  local pin
  pin=$(sed -n 's/^torch==//p' "$root/requirements/main.txt")
  timeout 180 "$1" -I -m pip index versions torch --retries 1 >"$2" 2>&1 && grep -qE "[ (]${pin//./\\.}([,)+]|$)" "$2"
}

examine_python() { # PYTHON: sets base_python, base_version and official_k2 and succeeds, or sets `refusal` to what is wrong with it
  local python=$1 scratch version
  version=$(python_version "$python") || { refusal="$python does not run" && return 1; }
  case $version in
    3.10.* | 3.11.* | 3.12.* | 3.13.*) ;;
    *) refusal="$python is Python $version" && return 1 ;;
  esac
  scratch=$(mktemp -d "$root/.env-lock/scratch.XXXXXX")
  if ! clean_python "$python" -m venv "$scratch/venv" >"$scratch/answer" 2>&1; then
    refusal="$python ($version) cannot make an environment: its venv or ensurepip module is missing"
    rm -rf "$scratch" && return 1
  fi
  if ! index_reached "$scratch/venv/bin/python" "$scratch/answer"; then
    log_error "$(grep -v 'is neither a file nor a directory' "$scratch/answer" | tail -n 3 | cut -c1-300)"
    rm -rf "$scratch"
    fail "package index" "pip does not find the torch of requirements/main.txt; its last words are above" \
      "a network, or a complete mirror set in pip's own configuration" \
      "connect, or point pip to a mirror (pip config set global.index-url ...), and start again"
  fi
  official_k2=false
  if official_k2_listed "$scratch/venv/bin/python"; then official_k2=true; fi
  rm -rf "$scratch"
  if [[ $version == 3.1[23].* ]] && ! $official_k2; then
    refusal="$python is Python $version, for which only the official k2 wheel would do, and its index (requirements/k2-official.txt) was not reached"
    return 1
  fi
  base_python=$python base_version=$version
}

choose_python() { # the first interpreter that will do: SPIN_BASE_PYTHON alone if set, else those on PATH
  local candidate refusal refusals="" candidates=(python3 python3.11 python3.10 python3.12 python3.13)
  [[ -z ${SPIN_BASE_PYTHON-} ]] || candidates=("$SPIN_BASE_PYTHON")
  for candidate in "${candidates[@]}"; do
    if [[ -z ${SPIN_BASE_PYTHON-} ]] && ! candidate=$(type -P "$candidate"); then continue; fi
    if examine_python "$candidate"; then return; fi
    refusals+="${refusals:+; }$refusal"
  done
  fail "Python" "${refusals:-no python3 on PATH}" "Python 3.10 or 3.11; 3.12 or 3.13 where the official k2 wheel can be had" "$remedy_python"
}
