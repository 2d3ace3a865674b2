#!/bin/sh
# Install into .venv the packages that the benchmarks compare with. Prints nothing if all are installed.
set -eu
cd "$(dirname "$0")/.."

STAMP=.venv/.benchmarks
wanted=$(cat requirements.txt requirements-dev.txt benchmarks/requirements.txt | cksum)
[ "$(cat "$STAMP" 2>/dev/null || :)" != "$wanted" ] || exit 0
printf 'setup: installing the packages that the benchmarks compare with (half a minute)\n'
if .venv/bin/python -m pip --version >/dev/null 2>&1; then
    set -- .venv/bin/python -m pip install --quiet --disable-pip-version-check
else
    set -- uv pip install --quiet --python .venv/bin/python
fi
mkdir -p .local
"$@" -r benchmarks/requirements.txt >.local/benchmarks.log 2>&1 || {
    tail -n 15 .local/benchmarks.log >&2
    printf 'setup: error: %s\n' "the packages of the benchmarks could not be installed; the end of .local/benchmarks.log is above." \
        "  Check that pip reaches its index, then run the same command again." >&2
    exit 1
}
echo "$wanted" >"$STAMP"
