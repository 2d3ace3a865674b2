"""Every command that anything prints is marked as one, and works as printed, on a system in which it is needed."""

import ast
import base64
import html
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from imagefeed import terminal
from imagefeed.ledger import entries
from imagefeed.model import ArchiveKey, Refusal, State
from ingest.model import SourceState
from local.azurite import azurite
from ops.cli.__main__ import main
from ops.web.responses import Request
from ops.web.views import StatusViews
from preprocess.image.formats import METHODS
from preprocess.model import Notes, Recipe
from preprocess.notes import BATCH_TIME
from preprocess.recipe import identify
from storage.blobs.pipelines import hold_pipeline
from storage.clients import Clients, connected, prepare
from tests.fixtures.azure_answers import listed_site
from tests.fixtures.azure_answers import settings as as_az_lists
from tests.fixtures.fake_tools import PROJECT, Answer, Tools
from tests.fixtures.history import PIPELINE, Past, write

VERBS = ("ls", "latest", "export", "init", "status", "refused", "replay", "audit", "rebuild", "pipeline", "doctor")
NOW = datetime.now(UTC).replace(microsecond=0)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
APP = "images-abc"
REASONS = {
    "hooked": "PREPROCESS_HOOK (hooks.py:12) failed: ZeroDivisionError: division by zero",
    "large": "none of its 9 members gave an image (9 .png): a frame has 9 x 9 pixels, but LIMIT_PIXELS allows 4",
}
NEAR = Notes(near={"LIMIT_PIXELS": 0.9, BATCH_TIME: 0.85})
_COMMAND = re.compile(rf"imagefeed (?:{'|'.join(VERBS)}|VERB)\b")
_SET_APART = re.compile(r"`([^`\n]+)`|<code>([^<]+)</code>|^ *(?:\$ )?((?:\. \S+ && )?imagefeed .*)$", re.MULTILINE)
_STANDS_FOR = (
    (r"(?<=--archive )(\{\{.*\}\}|\S+)", "radar/{version}"),
    (r"\{option\}", "--poison"),
    (r"'\{name\}'", "'tiff<2'"),
    (r"\{start\}", "2026-03-01"),
    (r"\{text\.only\(key\.stamp\)\}|\{\{ only \}\}", "--since 48h"),
    (r"\{key\.source\}|\{source\.name\}|\{source\}|\{\{ source \}\}|\bSOURCE\b", "radar"),
    (r"(--app) \S+", rf"\1 {APP}"),
    (r"--since 2026-03-01 --until 2026-03-02", f"--since {NOW - DAY:%Y-%m-%d} --until {NOW + DAY:%Y-%m-%d}"),
    (r"\bVERB\b", "ls"),
    (r"p-[0-9a-f]{8}|(?<=pipeline use )NAME", PIPELINE),
)
"""Placeholders in texts, and their values here."""


@dataclass(frozen=True)
class System:
    """A storage in which everything went wrong at least once, and the settings of its app."""

    clients: Clients
    settings: dict[str, str]
    versions: dict[State, str]


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with azurite() as server, connected(server.connection) as clients:
        prepare(clients)
        hold_pipeline(clients, PIPELINE, identify(Recipe(), PIPELINE).fingerprint)
        _fill(clients)
        settings = {
            "DATA_STORAGE": server.connection,
            "PIPELINE_NAME": PIPELINE,
            "SOURCES__RADAR__URL": "ftp://127.0.0.1:9/",
        }
        listed = {entry.state: entry.archive.version for entry in entries(clients, "radar")}
        yield System(clients, settings, listed)


def _fill(clients: Clients) -> None:
    pixels = [np.full((9, 9, 3), 7, np.uint8)] * 25
    refused = [Refusal(member=7 + number, name="b.png", reason="cut off", error="OSError") for number in range(210)]
    past = [
        Past(stamp=NOW - 2 * MINUTE, pixels=pixels, images=25, notes=NEAR, methods={"TIFF": 0}),
        Past(stamp=NOW - 12 * MINUTE, pixels=pixels, images=25, refused=refused),
        Past(stamp=NOW - 22 * MINUTE, state=State.REFUSED, reason="its directory cannot be read"),
        Past(stamp=NOW - 32 * MINUTE, state=State.FAILED, reason="6 tries are spent"),
        Past(stamp=NOW - 52 * MINUTE, state=State.EXPIRED),
        Past(stamp=NOW - 90 * MINUTE, state=State.RAW),
        Past(stamp=NOW - 95 * MINUTE, state=State.SEEN, reason="permission denied"),
    ]
    write(clients, "radar", past, SourceState(source="radar", listed_at=NOW - timedelta(hours=2), error="refused"))
    for archive in [entry.archive for entry in entries(clients, "radar")][:4]:
        metadata = {"source": "radar", "stamp": f"{archive.stamp:%Y%m%dT%H%M%SZ}", "version": archive.version}
        clients.raw.upload_blob(archive.blob, b"zip", metadata={**metadata, "path": archive.path}, overwrite=True)
    for source, reason in REASONS.items():
        bad = [Past(stamp=NOW - number * MINUTE, state=State.REFUSED, reason=reason) for number in (3, 13, 23)]
        write(clients, source, bad, SourceState(source=source, listed_at=NOW, long_poll_at=NOW, unchecked_at=NOW))
    # Raw blobs, batches and results of another source are lost.
    lost = [Past(stamp=NOW - number * MINUTE, images=3, raw=False) for number in (42, 52)]
    write(clients, "south", lost, SourceState(source="x"))
    gone = next(entries(clients, "south")).archive
    clients.batches.delete_entity(gone.key.partition(PIPELINE), "0000")
    unknown = ArchiveKey("radar", NOW - timedelta(hours=3), "0000dead").raw_blob("lost.zip")
    clients.raw.upload_blob(unknown, b"zip")
    clients.raw.upload_blob("by hand/it's `odd`.zip", b"zip")
    poison = clients.queues.get_queue_client("batches-poison")
    poison.send_message(base64.b64encode(b'{"blob": "a.zip"}').decode())
    clients.dead_letters.upload_blob("a.json", b"[]")


@pytest.fixture(autouse=True)
def _settings(system: System, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in system.settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


def _interrupted(draw: Callable[[], object], _: float) -> NoReturn:
    draw()
    raise KeyboardInterrupt


def run(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command as a shell would; return its output."""
    words = shlex.split(command, comments=True)
    assert words[0] == "imagefeed", command
    arguments = [*words[1:], *(["--within", "0.1s"] if "--smoke" in words else [])]
    try:
        status = main(arguments)
    except SystemExit as exc:
        status = int(exc.code or 0)
    said = capsys.readouterr()
    # 1 and 3 are findings; 130 is how `--watch` ends.
    assert status in ({0, 1, 3} if "--watch" not in words else {130}), f"{command}: {said.err}"
    return said.out


def texts() -> Iterator[tuple[str, str]]:
    """Yield all texts that this project prints, by files; of Python all but docstrings."""
    named = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "local.settings.json.example")]
    for folder in ("docs", "infra", "ops", "local", "imagefeed", "storage", "ingest", "preprocess", "config"):
        named += (path for path in (PROJECT / folder).rglob("*") if path.suffix in _SAID)
    for path in [*named, PROJECT / "bootstrap.py", PROJECT / "function_app.py"]:
        text = path.read_text(encoding="utf-8")
        yield str(path.relative_to(PROJECT)), "\n".join(strings(text)) if path.suffix == ".py" else text


_SAID = {".md", ".py", ".sh", ".bicep", ".json", ".kql", ".html", ".js"}


def strings(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    inside = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)} | inside
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else f"{{{ast.unparse(v.value)}}}" for v in node.values)  # type: ignore[attr-defined]
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


def commands_in(text: str) -> list[str]:
    """Find the commands that a text marks, with the part after `. .local/env &&`."""
    found = ("".join(match.groups("")) for match in _SET_APART.finditer(text))
    parts = (part.strip() for each in found for part in html.unescape(each).split("&&"))
    return [part for part in parts if _COMMAND.match(part)]


TEXTS = list(texts())
WRITTEN = {(place, command) for place, text in TEXTS for command in commands_in(text)}


def filled_in(command: str, system: System) -> str:
    for pattern, stands in _STANDS_FOR:
        command = re.sub(pattern, stands.replace("{version}", system.versions[State.FAILED]), command)
    return command


def test_a_command_is_set_apart_so_that_everybody_sees_where_it_ends() -> None:
    alone = []
    for place, text in TEXTS:
        inside = [match.span() for match in _SET_APART.finditer(text)]
        found = (match.start() for match in _COMMAND.finditer(text))
        alone += [(place, text[at : at + 60]) for at in found if not any(start <= at < end for start, end in inside)]
    assert alone == []


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("rich", [True, False])
@pytest.mark.parametrize("command", ["ls", "latest radar", "refused radar", "status", "audit", "pipeline ls"])
def test_no_command_number_time_or_state_is_cut(
    system: System, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    command: str, rich: bool, width: int,
) -> None:  # fmt: skip
    """First of all: the commands of other tests change the system."""
    monkeypatch.setattr(terminal, "RICH", rich)
    monkeypatch.setattr(terminal, "_WIDE", 10_000)
    whole = run(f"imagefeed {command}", capsys)
    monkeypatch.setattr(terminal, "_WIDE", width)
    narrow = run(f"imagefeed {command}", capsys)
    assert "…" not in narrow
    lines = narrow.splitlines()
    for cell in re.findall(r"`[^`]+`|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\b[0-9a-f]{8}\b|\d+\.\d+", whole):
        assert any(cell in line for line in lines), cell
    for state in filter(whole.split().__contains__, State):
        assert whole.split().count(state) <= narrow.split().count(state)
    if command not in ("status", "audit"):
        # Text that is longer than the terminal is one cell.
        reasons = {entry.reason for source in ("radar", *REASONS) for entry in entries(system.clients, source)}
        long = [line.strip() for line in lines if len(line) > width and len(line.split()) > 2]
        assert not {*long} - reasons


def test_every_written_command_runs_as_it_is_printed(
    system: System, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ops.cli.status.watch", _interrupted)
    az: dict[str, Sequence[Answer]] = {
        "functionapp list": [[listed_site()]],
        "functionapp config appsettings list": [as_az_lists(dict(system.settings))],
    }
    tools = Tools(tmp_path / "tools", az)
    monkeypatch.setenv("PATH", f"{tools.home / 'bin'}:/usr/bin:/bin")
    commands = sorted({filled_in(command, system) for _, command in WRITTEN})
    assert len(commands) > 30
    with tools.answering():
        for command in commands:
            # Nothing runs here, and `replay` waits while as many messages as it may put are on the queue.
            system.clients.batch_queue.clear_messages()
            run(command, capsys)


def printed(system: System, capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    """Yield all output of the system: terminal, JSON, pages."""
    for command in ("status", "status --json", "audit", "audit --json", "ls", "refused radar", "doctor", "init"):
        yield run(f"imagefeed {command}", capsys).replace("\\u0060", "`")
    views = StatusViews(system.clients, {})
    yield views.page(Request()).body.decode()
    for entry in entries(system.clients, "radar"):
        name = f"{entry.archive.stamp:%Y%m%dT%H%M%SZ}.{entry.archive.version}"
        yield views.archive(Request(), "radar", name).body.decode()


def test_every_shown_command_runs_as_it_is_printed(system: System, capsys: pytest.CaptureFixture[str]) -> None:
    found: set[str] = set()
    for text in printed(system, capsys):
        bare = html.unescape(re.sub(r"<[^>]+>", "`", text))
        found |= {command for command in re.findall(r"`(imagefeed [^`]+)`", bare) if "NAME" not in command}
    outdated = f"--method 'tiff<{METHODS['TIFF']}' --since 30d"
    for expected in ("--refused --source large", "--source hooked --since 48h", outdated):
        assert any(command.endswith(expected) for command in found), expected
    kinds = {command.split()[1] for command in found}
    assert kinds >= {"ls", "replay", "rebuild", "refused", "export"}
    for command in sorted(found):
        system.clients.batch_queue.clear_messages()
        run(command, capsys)


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))


def test_every_target_and_module_that_is_named_exists() -> None:
    named = [(place, text) for place, text in TEXTS if not place.startswith("Makefile")]
    targets = {(place, name) for place, text in named for name in re.findall(r"`make ([a-z-]+)", text)}
    modules = {(place, name) for place, text in named for name in re.findall(r"python3? -m ([a-z_.]+)", text)}
    ours = {(place, name) for place, name in modules if name.split(".")[0] in ("local", "benchmarks", "ops", "tests")}
    assert len(targets) > 5
    assert len(ours) > 3
    assert {(place, name) for place, name in targets if name not in _targets()} == set()
    assert {(place, name) for place, name in ours if find_spec(name.rstrip(".")) is None} == set()
