#!/bin/sh
# Install checkov, which scans the Bicep files, in its own environment. Prints nothing if it is installed.
set -eu
cd "$(dirname "$0")/.."

HOME_OF_IT=.local/checkov
STAMP=$HOME_OF_IT/.requirements
LOG=.local/checkov.log

wanted=$(cksum <infra/requirements-checkov.txt)
if [ "$(cat "$STAMP" 2>/dev/null || :)" = "$wanted" ] && [ -x "$HOME_OF_IT/bin/checkov" ]; then exit 0; fi

echo "setup: installing checkov, which scans the Bicep files (half a minute)"
mkdir -p .local
rm -rf "$HOME_OF_IT"
# --no-deps, because the file lists all packages. If `venv` has no pip, uv is used.
if { .venv/bin/python -m venv "$HOME_OF_IT" &&
    "$HOME_OF_IT/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r infra/requirements-checkov.txt; } >"$LOG" 2>&1 ||
    { rm -rf "$HOME_OF_IT" && uv venv --quiet --python .venv/bin/python "$HOME_OF_IT" &&
        uv pip install --quiet --python "$HOME_OF_IT" --no-deps -r infra/requirements-checkov.txt; } >>"$LOG" 2>&1; then
    echo "$wanted" >"$STAMP"
    exit 0
fi
tail -n 15 "$LOG" >&2
printf 'setup: error: checkov could not be installed; the end of %s is above.\n' "$LOG" >&2
echo "  If it says that it cannot connect: check the network and the proxy, or point PIP_INDEX_URL at your own index." >&2
exit 1
