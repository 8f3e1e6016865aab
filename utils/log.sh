# Sourced. Log lines that look like those of the Python side, and errors that name subject, what was found and expected, and the remedy.

log() { # MESSAGE...: one line with date, time and the script's name
  printf '%(%Y-%m-%d %H:%M:%S)T INFO [%s] %s\n' -1 "${0##*/}" "$*"
}

log_error() { # MESSAGE...: the same on standard error; a message may have several lines
  printf '%(%Y-%m-%d %H:%M:%S)T ERROR [%s] %s\n' -1 "${0##*/}" "$*" >&2
}

fail() { # SUBJECT FOUND EXPECTED REMEDY: the error in the form of spin.errors.SpinError; ends the script with status 1
  log_error "$1"$'\n'"  found: $2"$'\n'"  expected: $3"$'\n'"  remedy: $4"
  exit 1
}

is_number() { # TEXT [DIGITS]: whether it is a whole number that arithmetic may be given: plain digits, at most so many (18)
  [[ $1 =~ ^(0|[1-9][0-9]*)$ ]] && ((${#1} <= ${2-18}))
}

require_number() { # NAME TEXT REMEDY: fails where a variable of the environment is no whole number
  is_number "$2" || fail "$1" "'$2'" "a whole number" "$3"
}

pass_on() { # PROCESS: ends it, if it has been started
  [ -z "$1" ] || kill -TERM "$1" 2>/dev/null || :
}

await() { # PROCESS: waits for its end, also where a trap runs meanwhile; returns its status
  while kill -0 "$1" 2>/dev/null; do
    wait "$1" || : # it also returns when a trap has run, then with the status of the signal
  done
  wait "$1"
}

run_stage() { # NUMBER COMMAND SCRIPT [ARGUMENT...]: runs a stage's script; ends the caller with its status when it fails
  local number=$1 status=0 child="" stopped=""
  shift
  trap 'stopped=143; pass_on "$child"' TERM
  trap 'stopped=130; pass_on "$child"' INT
  # Beside the shell, not in front of it: bash looks at a signal only after a command in front has ended, which may take hours.
  "$@" &
  child=$!
  [ -z "$stopped" ] || pass_on "$child" # a signal before the number of the process was known
  await "$child" || status=$?
  trap - TERM INT
  [ -z "$stopped" ] || status=$stopped
  ((status == 0)) && return
  if ((status == 130 || status == 143)); then
    log_error "stage $number interrupted; the same command goes on from there"
  else
    log_error "stage $number failed with status $status: $2"
  fi
  exit "$status"
}
