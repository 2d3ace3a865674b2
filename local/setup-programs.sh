#!/bin/sh
# Install the servers and tools of local/servers/needed.txt. Prints nothing if all are installed.
# As root, apt-get installs missing packages. As another user, they are unpacked into .local/programs and the system is
# not changed; packages that the list marks with `unpack:` always are. Programs that cannot be installed are listed; this
# is no error, because tests that need them are skipped.
set -eu
cd "$(dirname "$0")/.."

HERE=$PWD/.local/programs
CONFIG=$HERE/apt.conf
LOG=.local/programs.log
PATH=$PATH:/usr/sbin:/usr/local/sbin:/sbin:$HERE/bin

say() { printf 'setup: %s\n' "$*"; }

# Print the missing programs or, with `2`, their packages.
missing() {
    while read -r program package _; do
        case $program in '' | '#'*) continue ;; esac
        command -v "$program" >/dev/null 2>&1 || printf '%s %s\n' "$program" "$package"
    done <local/servers/needed.txt | cut -d ' ' -f "${1:-1}" | sort -u
}

# Write apt's configuration to `install` or `unpack`, with short timeouts so that an unreachable server is reported soon.
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
    [ "$1" = unpack ] || return 0
    # Separate lists and cache, which need neither root nor an `apt-get update` of the system.
    cat >>"$CONFIG" <<EOS
APT::Get::Download-Only "true";
Debug::NoLocking "true";
Dir::Cache "$HERE/apt/cache";
Dir::State "$HERE/apt/state";
Dir::State::status "/var/lib/dpkg/status";
EOS
    mkdir -p "$HERE/apt/cache/archives/partial" "$HERE/apt/state/lists/partial"
}

# Install packages with their dependencies; to unpack them, the configuration makes apt only download them.
get() { DEBIAN_FRONTEND=noninteractive apt-get -c "$CONFIG" install "$@" >>"$LOG" 2>&1; }

get_all() {
    status=0
    timeout 60 apt-get -c "$CONFIG" update >>"$LOG" 2>&1 || status=$?
    # After a timeout, requests for packages would fail too.
    [ $status -ne 124 ] || return 0
    get "$@" && return
    # One by one, so that a package which the distribution lacks does not prevent the others.
    [ $status -ne 0 ] || for package; do get "$package" || :; done
}

unpack() {
    for package in "$HERE"/apt/cache/archives/*.deb; do
        [ ! -e "$package" ] || dpkg-deb -x "$package" "$HERE/root" >>"$LOG" 2>&1 || :
    done
    rm -rf "$HERE/apt"
    # Without these, a browser draws no text on a system that has no fonts.
    mkdir -p "$HERE/root"
    echo "<fontconfig><dir>$HERE/root/usr/share/fonts</dir></fontconfig>" >"$HERE/root/fonts.conf"
    for program in $(missing); do
        # A browser's command is a script with absolute paths; the program itself is in lib.
        for file in "usr/lib/$program/$program" "usr/sbin/$program" "usr/bin/$program"; do
            [ -x "$HERE/root/$file" ] || continue
            wrap "$program" "$file"
            break
        done
    done
}

# Write a command that runs a program with its unpacked libraries; remove it if libraries are missing.
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
to_install='' to_unpack=''
for package in $packages; do
    case $(id -u):$package in
    0:unpack:* | [!0]*) to_unpack="$to_unpack ${package#unpack:}" ;;
    *) to_install="$to_install $package" ;;
    esac
done
if ! command -v apt-get >/dev/null 2>&1; then
    say "this system has no apt-get, so these are yours to install:$to_install$to_unpack"
else
    # shellcheck disable=SC2086 # split into one word per package
    if [ -n "$to_install" ]; then
        configure install
        say "as root: apt-get install$to_install"
        get_all $to_install
    fi
    # shellcheck disable=SC2086
    if [ -n "$to_unpack" ]; then
        configure unpack
        say "unpacking Debian packages into .local/programs:$to_unpack (a minute or two)"
        get_all $to_unpack
        unpack
    fi
fi
still=$(missing | tr '\n' ' ')
[ -z "$still" ] || say "missing, so tests that need them are skipped: $still($LOG says why)"
