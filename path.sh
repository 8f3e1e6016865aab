# Sourced by the recipes. Names the interpreters, and makes the environment when it is missing or no longer fits (utils/setup_env.sh).
#   SPIN_PYTHON     runs stages 0 to 3
#   SPIN_K2_PYTHON  runs what needs k2; the same as SPIN_PYTHON where the official k2 wheel could be had
# Set SPIN_BASE_PYTHON beforehand to say which Python the environment is made from.
SPIN_ROOT=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
"$SPIN_ROOT/utils/setup_env.sh" || return
SPIN_PYTHON=$SPIN_ROOT/.venv/bin/python
SPIN_K2_PYTHON=$SPIN_ROOT/$(cat "$SPIN_ROOT/.venv/.spin/k2")/bin/python
export SPIN_ROOT SPIN_PYTHON SPIN_K2_PYTHON
export PATH="$SPIN_ROOT/.venv/bin:$PATH"
export PYTHONPATH="$SPIN_ROOT${PYTHONPATH:+:$PYTHONPATH}"
# Compute threads that spin while they wait starve each other, and everything else, on small machines.
export OMP_WAIT_POLICY=PASSIVE
