#!/bin/sh
# Compile and lint the templates, and compile the parameter file. Warnings count as errors, unlike in the compiler.
set -eu
cd "$(dirname "$0")/.."

command -v az >/dev/null 2>&1 || {
    echo "error: az is missing: it is Azure CLI. Install it: https://learn.microsoft.com/cli/azure/install-azure-cli" >&2
    exit 1
}

WRONG=0
# The compiler writes findings to standard error as FILE(LINE,COLUMN) : TEXT; its output is not needed.
look() {
    if said=$(az bicep "$@" 2>&1 >/dev/null) && ! printf '%s\n' "$said" | grep -q '([0-9]*,[0-9]*) : '; then
        echo "ok          bicep $1 $3"
    else
        printf '%s\n' "$said" "WRONG       bicep $1 $3"
        WRONG=1
    fi
}

for template in infra/*.bicep; do
    look build --file "$template" --stdout
    look lint --file "$template"
done
for parameters in infra/*.bicepparam; do
    look build-params --file "$parameters" --stdout
done
exit "$WRONG"
