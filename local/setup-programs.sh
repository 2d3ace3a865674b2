#!/bin/sh
# Make ready the servers and tools of local/servers/needed.txt. Says nothing when all are there.
# As root apt-get installs what is missing. For others its packages are unpacked into .local/programs, and the system stays
# as it is. What cannot be had either way is named, and is no error: the tests that need it are skipped.
set -eu
cd "$(dirname "$0")/.."

HERE=$PWD/.local/programs
CONFIG=$HERE/apt.conf
LOG=.local/programs.log
PATH=$PATH:/usr/sbin:/usr/local/sbin:/sbin:$HERE/bin

say() { printf 'setup: %s\n' "$*"; }

# Print what is missing: programs, or with `2` their packages.
missing() {
    while read -r program package _; do
        case $program in '' | '#'*) continue ;; esac
        command -v "$program" >/dev/null 2>&1 || printf '%s %s\n' "$program" "$package"
    done <local/servers/needed.txt | cut -d ' ' -f "${1:-1}" | sort -u
}

# Where no server answers, apt is to say so at once.
configure() {
    cat >"$CONFIG" <<EOS
Acquire::Retries "0";
Acquire::http::Timeout "5";
Acquire::https::Timeout "5";
APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
DPkg::Lock::Timeout "60";
EOS
    [ "$(id -u)" -ne 0 ] || return 0
    # Lists and a cache of our own need neither root nor an `apt-get update` of the system's.
    cat >>"$CONFIG" <<EOS
APT::Get::Download-Only "true";
Debug::NoLocking "true";
Dir::Cache "$HERE/apt/cache";
Dir::State "$HERE/apt/state";
Dir::State::status "/var/lib/dpkg/status";
EOS
    mkdir -p "$HERE/apt/cache/archives/partial" "$HERE/apt/state/lists/partial"
}

# Install or, with the configuration for others than root, download packages with all that they depend on.
get() { DEBIAN_FRONTEND=noninteractive apt-get -c "$CONFIG" install "$@" >>"$LOG" 2>&1; }

get_all() {
    status=0
    timeout 60 apt-get -c "$CONFIG" update >>"$LOG" 2>&1 || status=$?
    # Without an answer in time there is no use in asking for packages.
    [ $status -ne 124 ] || return 0
    get "$@" && return
    # A package that the distribution lacks does not keep the others away.
    [ $status -ne 0 ] || for package; do get "$package" || :; done
}

unpack() {
    for package in "$HERE"/apt/cache/archives/*.deb; do
        [ ! -e "$package" ] || dpkg-deb -x "$package" "$HERE/root" >>"$LOG" 2>&1 || :
    done
    rm -rf "$HERE/apt"
    # Where the system has no fonts, a browser draws none of the text without these.
    mkdir -p "$HERE/root"
    echo "<fontconfig><dir>$HERE/root/usr/share/fonts</dir></fontconfig>" >"$HERE/root/fonts.conf"
    for program in $(missing); do
        # A browser's command is a script with absolute paths; the program itself lies in lib.
        for file in "usr/lib/$program/$program" "usr/sbin/$program" "usr/bin/$program"; do
            [ -x "$HERE/root/$file" ] || continue
            wrap "$program" "$file"
            break
        done
    done
}

# Make a command that runs a program with the libraries unpacked beside it, unless some are still missing.
wrap() {
    mkdir -p "$HERE/bin"
    cat >"$HERE/bin/$1" <<EOS
#!/bin/sh
root=\$(cd "\$(dirname "\$0")/../root" && pwd)
for folder in "\$root"/usr/lib/*-linux-gnu* "\$root"/usr/lib/*-linux-gnu*/*/ "\$root"/lib/*-linux-gnu*; do
    LD_LIBRARY_PATH=\${LD_LIBRARY_PATH:+\$LD_LIBRARY_PATH:}\$folder
done
export LD_LIBRARY_PATH
[ -e /etc/fonts/fonts.conf ] || export FONTCONFIG_FILE="\$root/fonts.conf"
exec \${LDD-} "\$root/$2" "\$@"
EOS
    chmod +x "$HERE/bin/$1"
    if LDD=ldd "$HERE/bin/$1" 2>&1 | grep 'not found' >>"$LOG"; then rm "$HERE/bin/$1"; fi
}

packages=$(missing 2)
[ -n "$packages" ] || exit 0
mkdir -p "$HERE"
: >"$LOG"
# shellcheck disable=SC2086 # a word for each package
set -- $packages
if ! command -v apt-get >/dev/null 2>&1; then
    say "this system has no apt-get, so these are yours to install: $*"
else
    configure
    if [ "$(id -u)" -eq 0 ]; then
        say "as root: apt-get install $*"
        get_all "$@"
    else
        say "unpacking Debian packages into .local/programs: $* (a minute or two)"
        get_all "$@"
        unpack
    fi
fi
still=$(missing | tr '\n' ' ')
[ -z "$still" ] || say "missing, so tests that need them are skipped: $still($LOG says why)"
