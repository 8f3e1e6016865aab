# Sourced by a script after it has set two things:
#   a variable for each option, with its default (an array for a repeatable one);
#   the array `options`, a line each: "NAME TYPE HELP". The variable stop_stage is the option --stop-stage. TYPE is one of
#     0-5     a whole number in this range         a|b|c   one of these words
#     file    a file that exists                   path    a file or folder, need not exist
#     flag    takes no value, sets true            set     SECTION.KEY=VALUE, repeatable
# Sets the variables from "$@". Anything it does not know is an error: usage line, status 2. --help prints the options, status 0.
# (No option can be called line, name, type, rest, value, left, flag, given, owner or list: the functions below use these.)
# A path that begins with ~/ lies in the caller's home folder (bash leaves the ~ of --conf=~/x as it is).
# A relative path is taken from where the caller stands; `home`, if set, is the folder the script itself will work in.

# shellcheck disable=SC2154  # options is the caller's
usage_line() {
  local line name type rest words=""
  for line in "${options[@]}"; do
    read -r name type rest <<<"$line"
    [[ $type == flag ]] && words+=" [--${name//_/-}]" || words+=" [--${name//_/-} $(value_name "$type")]"
  done
  printf 'usage: %s%s [--help]\n' "$0" "$words"
}

value_name() { # TYPE: how --help shows the value
  case $1 in
    file | path) echo "${1^^}" ;;
    set) echo "SECTION.KEY=VALUE" ;;
    *) echo "$1" ;;
  esac
}

usage_error() { # MESSAGE
  { printf '%s: %s\n' "$0" "$1" && usage_line; } >&2
  exit 2
}

print_help() {
  local line name type rest value left
  printf 'usage: %s [options]\n\n' "$0"
  [[ -z ${about-} ]] || printf '%s\n\n' "$about"
  for line in "${options[@]}"; do
    read -r name type rest <<<"$line"
    value=${!name-}
    left="--${name//_/-}"
    [[ $type == flag ]] || left+=" $(value_name "$type")"
    [[ $type == flag || -z $value ]] || rest+=" (default: $value)"
    printf '  %-26s %s\n' "$left" "$rest"
  done
  printf '  %-26s %s\n' "--help" "this text"
}

option_type() { # NAME: prints the type of an option; status 1 when there is none of this name
  local line name type rest
  for line in "${options[@]}"; do
    read -r name type rest <<<"$line"
    [[ $name == "$1" ]] && echo "$type" && return
  done
  return 1
}

check_value() { # FLAG TYPE VALUE
  local low=${2%%-*} high=${2##*-}
  case $2 in
    file) [[ -f $3 ]] || usage_error "$1: no file '$3' (seen from $PWD)" ;;
    path) [[ -n $3 ]] || usage_error "$1 is empty" ;;
    set) [[ $3 =~ ^[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)*= ]] || usage_error "$1 takes SECTION.KEY=VALUE, not '$3'" ;;
    *\|*) [[ "|$2|" == *"|$3|"* && $3 != *\|* && -n $3 ]] || usage_error "$1 takes one of $2, not '$3'" ;;
    *)
      if [[ ! $3 =~ ^(0|[1-9][0-9]{0,8})$ ]] || (($3 < low || $3 > high)); then
        usage_error "$1 takes a whole number from $low to $high, not '$3'"
      fi
      ;;
  esac
}

at_home() { # PATH: prints it with ~ and ~USER replaced by the home folder; as it is where there is no such user
  local owner=${1%%/*} folder
  case $owner in
    "~") folder=~ ;;
    "~"?*) folder=$(getent passwd "${owner#"~"}" | cut -d: -f6) || : ;;
    *) folder="" ;;
  esac
  printf '%s\n' "${folder:-$owner}${1#"$owner"}"
}

assign_value() { # NAME TYPE VALUE
  local given=$3
  [[ $2 != file && $2 != path || $given == /* || $PWD -ef ${home-$PWD} ]] || given=$PWD/$given
  if [[ $2 == set ]]; then
    declare -n list=$1
    list+=("$given")
  else
    printf -v "$1" '%s' "$given"
  fi
}

parse_options() { # ARGUMENTS...
  local flag name type
  while (($#)); do
    [[ $1 == --help || $1 == -h ]] && print_help && exit 0
    [[ $1 == --?* ]] || usage_error "stray word '$1'"
    flag=${1%%=*} name=${1%%=*}
    name=${name#--}
    if [[ ! $name =~ ^[a-z][a-z-]*$ ]] || ! type=$(option_type "${name//-/_}"); then usage_error "unknown option $flag"; fi
    if [[ $type == flag ]]; then
      [[ $1 != *=* ]] || usage_error "$flag takes no value"
      printf -v "${name//-/_}" true
      shift
      continue
    fi
    if [[ $1 == *=* ]]; then
      set -- "$flag" "${1#*=}" "${@:2}"
    fi
    if (($# < 2)) || [[ $2 == --* ]]; then usage_error "$flag needs a value"; fi
    if [[ $type == file || $type == path ]]; then set -- "$1" "$(at_home "$2")" "${@:3}"; fi
    check_value "$flag" "$type" "$2"
    assign_value "${name//-/_}" "$type" "$2"
    shift 2
  done
}

parse_options "$@"
