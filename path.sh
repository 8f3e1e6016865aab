# Sourced by the recipes. Makes the Python environments when they are missing or out of date, and names the interpreters.
#   SPIN_PYTHON     runs stages 0 to 3
#   SPIN_K2_PYTHON  runs stages 4 and 5, which need k2; the same as SPIN_PYTHON where the official k2 wheel is available
# SPIN_BASE_PYTHON, set beforehand, names the Python that the environments are made from.
SPIN_ROOT=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
"$SPIN_ROOT/utils/setup_env.sh" || return
SPIN_PYTHON=$SPIN_ROOT/.venv/bin/python
SPIN_K2_PYTHON=$SPIN_ROOT/$(cat "$SPIN_ROOT/.venv/.spin/k2")/bin/python
export SPIN_ROOT SPIN_PYTHON SPIN_K2_PYTHON
export PATH="$SPIN_ROOT/.venv/bin:$PATH"
export PYTHONPATH="$SPIN_ROOT${PYTHONPATH:+:$PYTHONPATH}"
# Waiting compute threads must not spin: on small machines they would starve each other.
export OMP_WAIT_POLICY=PASSIVE
