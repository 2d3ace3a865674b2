"""Installation of servers and tools: by apt-get from a repository of the test, and on machines where it cannot help."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from local.servers.child import free_port
from local.servers.needed import ProgramMissingError
from tests.unit.local.test_setup import program

ROOT = Path(__file__).parents[3]
SCRIPT = "local/setup-programs.sh"
TOOLS = ("cat", "cut", "dirname", "grep", "mkdir", "rm", "sh", "sort", "tr")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone that needs one program."""
    (tmp_path / "clone/local/servers").mkdir(parents=True)
    shutil.copyfile(ROOT / SCRIPT, tmp_path / "clone" / SCRIPT)
    list_needed(tmp_path / "clone", "some-tool")
    return tmp_path / "clone"


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """Programs that come before the machine's own; none of them runs as root."""
    program(tmp_path / "bin/id", "echo 1000")
    return tmp_path / "bin"


@pytest.fixture
def apt() -> None:
    """The machine's own apt-get, which must run; whether it reaches a network does not matter here."""
    for name in ("apt-get", "dpkg-deb"):
        path = shutil.which(name)
        if path is None or subprocess.run([path, "--version"], capture_output=True, check=False).returncode:
            raise ProgramMissingError(name, "only Debian and its kin have it")


@pytest.fixture
def repository(apt: None, tmp_path: Path) -> Path:  # noqa: ARG001 -- what it makes is for apt-get
    """A folder that apt takes packages from."""
    (tmp_path / "repository").mkdir()
    return tmp_path / "repository"


def list_needed(clone: Path, *names: str, mark: str = "") -> None:
    lines = "".join(f"{name}  {mark}{name}-package  a test\n" for name in names)
    (clone / "local/servers/needed.txt").write_text(f"# a comment\n\n{lines}")


def publish(repository: Path, name: str, path: str, *, needs: str = "", conflicts: str = "") -> None:
    """Put a package with one program into the repository."""
    root, deb = repository / f"{name}-root", repository / f"{name}-package.deb"
    program(root / path, f"echo {name} says $*")
    metadata = f"Package: {name}-package\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: a test's\n"
    metadata += f"Depends: {needs}\n" if needs else ""
    metadata += f"Conflicts: {conflicts}\n" if conflicts else ""
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(metadata)
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", root, deb], check=True, capture_output=True)
    digest = hashlib.sha256(deb.read_bytes()).hexdigest()
    with (repository / "Packages").open("a") as index:
        index.write(f"{metadata}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n\n")


def set_up(clone: Path, path: str, source: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script; `source` is the only repository of apt-get."""
    (clone.parent / "sources.list").write_text(f"deb [trusted=yes] {source} ./\n")
    (clone.parent / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{clone.parent}/sources.list";\nDir::Etc::sourceparts "-";\n'
    )
    environment = {"PATH": path, "APT_CONFIG": str(clone.parent / "apt.conf")}
    return subprocess.run(
        ["sh", SCRIPT], cwd=clone, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def beside(folder: Path) -> str:
    return f"{folder}:{os.environ['PATH']}:/usr/sbin:/sbin"


def lone(folder: Path, tools: Mapping[str, str]) -> str:
    """Make a PATH with only the tools of every system and the given scripts."""
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or tool)
    for name, script in tools.items():
        program(folder / name, script)
    return str(folder)


@pytest.mark.parametrize("path", ["usr/sbin/some-tool", "usr/bin/some-tool", "usr/lib/some-tool/some-tool"])
def test_who_is_not_root_gets_programs_unpacked_into_the_clone(
    clone: Path, bin_folder: Path, repository: Path, path: str
) -> None:
    publish(repository, "some-tool", path)

    first = set_up(clone, beside(bin_folder), f"copy:{repository}")
    second = set_up(clone, beside(bin_folder), f"copy:{repository}")

    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == (
        "setup: unpacking Debian packages into .local/programs: some-tool-package (a minute or two)\n"
    )
    said = subprocess.run([clone / ".local/programs/bin/some-tool", "a b"], capture_output=True, text=True, check=True)
    assert said.stdout == "some-tool says a b\n"
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_root_gets_programs_unpacked_whose_packages_exclude_an_installed_one(
    clone: Path, bin_folder: Path, repository: Path
) -> None:
    program(bin_folder / "id", "echo 0")
    publish(repository, "some-tool", "usr/sbin/some-tool")
    publish(repository, "other", "usr/bin/other", conflicts="some-tool-package")
    list_needed(clone, "some-tool", "other", mark="unpack:")

    done = set_up(clone, beside(bin_folder), f"copy:{repository}")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "setup: unpacking Debian packages into .local/programs: other-package some-tool-package (a minute or two)\n"
    )
    assert {path.name for path in (clone / ".local/programs/bin").iterdir()} == {"some-tool", "other"}


def test_what_a_package_depends_on_comes_with_it(clone: Path, bin_folder: Path, repository: Path) -> None:
    publish(repository, "some-tool", "usr/bin/some-tool", needs="other-package")
    publish(repository, "other", "usr/bin/other")

    set_up(clone, beside(bin_folder), f"copy:{repository}")

    assert (clone / ".local/programs/root/usr/bin/other").exists()


def test_a_package_that_is_not_there_keeps_no_other_away(clone: Path, bin_folder: Path, repository: Path) -> None:
    publish(repository, "some-tool", "usr/bin/some-tool")
    list_needed(clone, "unknown", "some-tool")

    done = set_up(clone, beside(bin_folder), f"copy:{repository}")

    assert done.returncode == 0
    assert "missing, so tests that need them are skipped: unknown (.local/programs.log says why)" in done.stdout
    assert "Unable to locate package unknown-package" in (clone / ".local/programs.log").read_text()
    assert (clone / ".local/programs/bin/some-tool").exists()


def test_a_program_whose_libraries_are_missing_is_missing(clone: Path, bin_folder: Path, repository: Path) -> None:
    publish(repository, "some-tool", "usr/bin/some-tool")
    program(bin_folder / "ldd", "echo 'libodd.so.1 => not found'")

    done = set_up(clone, beside(bin_folder), f"copy:{repository}")

    assert "missing, so tests that need them are skipped: some-tool" in done.stdout
    assert not (clone / ".local/programs/bin/some-tool").exists()


@pytest.mark.usefixtures("apt")
def test_where_no_server_answers_it_says_so_soon_and_fails_nothing(clone: Path, bin_folder: Path) -> None:
    done = set_up(clone, beside(bin_folder), f"http://127.0.0.1:{free_port()}/")

    assert done.returncode == 0
    assert "missing, so tests that need them are skipped: some-tool (.local/programs.log says why)" in done.stdout
    assert "Connection refused" in (clone / ".local/programs.log").read_text()


def test_root_installs_with_apt_get_and_says_so(clone: Path, bin_folder: Path) -> None:
    list_needed(clone, "some-tool", "other-tool", "cat")
    apt = """
        echo "$*" >>calls
        case $* in *" install "*) cp "$0" "${0%/*}/some-tool"; cp "$0" "${0%/*}/other-tool" ;; esac
    """
    path = lone(bin_folder, {"id": "echo 0", "apt-get": apt, "timeout": 'shift; exec "$@"'})
    (bin_folder / "cp").symlink_to(shutil.which("cp") or "cp")

    first, second = set_up(clone, path), set_up(clone, path)

    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "setup: as root: apt-get install other-tool-package some-tool-package\n"
    config = clone / ".local/programs/apt.conf"
    assert (clone / "calls").read_text().splitlines() == [
        f"-c {config} update",
        f"-c {config} install other-tool-package some-tool-package",
    ]
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_apt_get_that_waits_for_ever_is_ended_and_asked_nothing_more(clone: Path, bin_folder: Path) -> None:
    timeout = '[ "$1" -le 60 ] || exec "$@"; exit 124'
    path = lone(bin_folder, {"id": "echo 0", "apt-get": "echo called >>calls", "timeout": timeout})

    done = set_up(clone, path)

    assert done.returncode == 0
    assert "missing, so tests that need them are skipped: some-tool" in done.stdout
    assert not (clone / "calls").exists()


def test_root_keeps_the_system_s_own_lists(clone: Path, bin_folder: Path) -> None:
    """With a state of its own apt-get would not know what is installed, and would only download."""
    path = lone(bin_folder, {"id": "echo 0", "apt-get": "exit 1", "timeout": 'shift; exec "$@"'})

    assert set_up(clone, path).returncode == 0
    config = (clone / ".local/programs/apt.conf").read_text()
    assert "Dir::" not in config
    assert "Download-Only" not in config


def test_a_system_without_apt_get_is_told_what_to_install(clone: Path, bin_folder: Path) -> None:
    done = set_up(clone, lone(bin_folder, {}))

    assert (done.returncode, done.stderr) == (0, "")
    assert "no apt-get, so these are yours to install: some-tool-package" in done.stdout
