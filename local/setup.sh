#!/bin/sh
# Install what every command needs: Python 3.13 in .venv, its packages, Azurite. Prints nothing if all is installed.
set -eu
cd "$(dirname "$0")/.."

# Measured in GB: .venv 1.0, with packages for benchmarks 1.25; Azurite 0.2; tools of the tests 0.35; unpacked programs
# 0.85; the demo 0.4.
NEEDED_KB=3200000
STAMP=.venv/.requirements
LOG=.local/setup.log

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}

# Run the interpreter, because pyenv has executable shims for versions that are not installed.
recent() { "$@" -c 'import sys; sys.exit(sys.version_info < (3, 13))' >/dev/null 2>&1; }

find_python() {
    if recent python3.13; then
        echo python3.13
        return
    fi
    root=${PYENV_ROOT:-$(pyenv root 2>/dev/null || echo "${HOME:-/nonexistent}/.pyenv")}
    for candidate in "$root"/versions/3.13*/bin/python3.13 python3; do
        if recent "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

check_disk() {
    free=$(df -Pk . | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4)
    needed=$NEEDED_KB
    for part in .venv .local/azurite .local/programs; do
        [ ! -d "$part" ] || needed=$((needed - $(du -sk "$part" | cut -f 1)))
    done
    [ "$free" -ge "$needed" ] || fail "the disk has $((free / 1024)) MB free, and set-up, tests and demo need $((needed / 1024)) MB" \
        "Free some space, or clone the project to another disk."
}

make_environment() {
    rm -rf .venv
    if command -v uv >/dev/null 2>&1; then
        say "making .venv with uv"
        # Without a network uv may not be able to get 3.13; then an installed one is used below.
        if uv venv --quiet --python 3.13 .venv >>"$LOG" 2>&1 && recent .venv/bin/python; then return; fi
        rm -rf .venv
    fi
    python=$(find_python) || fail "Python 3.13 is needed, and neither it nor uv was found." \
        "Get uv, which brings Python along:  curl -LsSf https://astral.sh/uv/install.sh | sh" \
        "or Python with pyenv:               pyenv install 3.13" \
        "or from your system:                apt install python3.13-venv, dnf install python3.13, brew install python@3.13" \
        "Then run the same command again."
    say "making .venv with $("$python" --version 2>&1) ($python)"
    "$python" -m venv .venv >>"$LOG" 2>&1 || fail_with_log "$python cannot make a virtual environment" \
        "On Debian and Ubuntu: apt install python3.13-venv"
}

fail_with_log() {
    rm -f "$STAMP"
    what=$1
    shift
    tail -n 15 "$LOG" >&2
    fail "$what; the end of $LOG is above." "$@"
}

install_packages() {
    say "installing Python packages (a minute or two)"
    if .venv/bin/python -m pip --version >/dev/null 2>&1; then
        set -- .venv/bin/python -m pip install --quiet --disable-pip-version-check
    else
        set -- uv pip install --quiet --python .venv/bin/python
    fi
    "$@" -r requirements-dev.txt >>"$LOG" 2>&1 || fail_with_log "the Python packages could not be installed" \
        "If it says that it cannot connect: check the network and the proxy," \
        "or point PIP_INDEX_URL (UV_INDEX_URL for uv) at your own index." \
        "Then run the same command again; it continues where it stopped."
}

install_azurite() {
    say "installing Azurite, the emulator of Azure Storage, from npm's registry (half a minute)"
    .venv/bin/python -c 'from local.azurite import install; install()' >>"$LOG" 2>&1 ||
        fail_with_log "Azurite could not be installed" \
            "If it names the network: check it and the proxy (HTTPS_PROXY)," \
            "or point npm_config_registry at a registry that this machine reaches." \
            "Then run the same command again."
}

wanted=$(cat requirements.txt requirements-dev.txt | cksum)
if [ "$(cat "$STAMP" 2>/dev/null || :)" != "$wanted" ] || ! recent .venv/bin/python; then
    check_disk
    mkdir -p .local
    : >"$LOG"
    recent .venv/bin/python || make_environment
    install_packages
    echo "$wanted" >"$STAMP"
fi
if ! cmp -s local/package-lock.json .local/azurite/package-lock.json; then
    check_disk
    mkdir -p .local
    install_azurite
fi
# Private, because `make run` adds settings that include keys.
if [ ! -f .local/env ]; then
    mkdir -p .local
    (umask 077 && printf "export PATH='%s/local/bin':\"\$PATH\"\n" "$PWD" >.local/env)
    say "to have the command \`imagefeed\` in this shell, type:  . .local/env"
fi
