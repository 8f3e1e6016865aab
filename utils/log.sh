# Sourced. Log lines in the format of the Python side, errors with subject, found, expected and remedy, and run_stage.

log() { # MESSAGE...: one line with date, time and the script's name
  printf '%(%Y-%m-%d %H:%M:%S)T INFO [%s] %s\n' -1 "${0##*/}" "$*"
}

log_error() { # MESSAGE...: the same on standard error
  printf '%(%Y-%m-%d %H:%M:%S)T ERROR [%s] %s\n' -1 "${0##*/}" "$*" >&2
}

fail() { # SUBJECT FOUND EXPECTED REMEDY: prints an error like those of spin.errors and exits with status 1
  log_error "$1"$'\n'"  found: $2"$'\n'"  expected: $3"$'\n'"  remedy: $4"
  exit 1
}

require_number() { # NAME TEXT REMEDY: fails unless the text is a whole number that shell arithmetic may evaluate
  [[ $2 =~ ^(0|[1-9][0-9]{0,17})$ ]] || fail "$1" "'$2'" "a whole number" "$3"
}

await() { # PROCESS: waits for its end, also when traps run in between; returns its status
  while kill -0 "$1" 2>/dev/null; do
    wait "$1" || :
  done
  wait "$1"
}

run_with_signals() { # COMMAND...: runs it, passes SIGTERM and SIGINT on to it, and returns its status; sets `interrupted` on a signal
  local child="" status=0
  interrupted=""
  trap 'interrupted=143; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null || :' TERM
  trap 'interrupted=130; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null || :' INT
  # In the background: bash handles a signal only after a foreground command has ended, which may take hours.
  "$@" &
  child=$!
  [[ -z $interrupted ]] || kill -TERM "$child" 2>/dev/null || : # a signal that came before the process number was known
  await "$child" || status=$?
  trap - TERM INT
  return "$status"
}

run_stage() { # NUMBER COMMAND SCRIPT [ARGUMENT...]: runs a stage's script; exits with its status when it fails
  local number=$1 status=0
  shift
  run_with_signals "$@" || status=$?
  status=${interrupted:-$status}
  case $status in
    0) ;;
    130 | 143) log_error "stage $number was interrupted; rerun the same command to resume" && exit "$status" ;;
    *) log_error "stage $number failed with status $status: $2" && exit "$status" ;;
  esac
}
