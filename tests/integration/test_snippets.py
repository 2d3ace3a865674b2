"""Every block of code in README, CONTRIBUTING and docs/ is run by a test, or needs Azure and is parsed."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from config.settings import FLAT
from tests.fixtures.fake_programs import commands, parse
from tests.fixtures.package import PROJECT
from tests.infra.test_workflows import DOCS as PIPELINES
from tests.integration.test_printed_commands import WRITTEN

PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((PROJECT / "docs").glob("*.md")))]
NEEDS_AZURE = "# needs Azure\n"
AZURE_PROGRAMS = {"az", "gh", "infra/deploy.sh"}
TARGETS = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str

    @property
    def needs_azure(self) -> bool:
        """True if its first line says so."""
        return self.text.startswith(NEEDS_AZURE)


def _blocks() -> Iterator[Block]:
    for page in PAGES:
        for language, text in re.findall(
            r"^```(\w*)\n(.*?)^```$", (PROJECT / page).read_text(), re.MULTILINE | re.DOTALL
        ):
            yield Block(page, language, text)


BLOCKS = list(_blocks())
SHELL = [block for block in BLOCKS if block.language == "sh"]


def _name(block: Block) -> str:
    return f"{block.page}: {block.text.splitlines()[0][:40]}"


def commands_of(text: str) -> Iterator[list[str]]:
    """Yield the commands of a block as words: of `a && b` both, of `x=$(a)` what it runs."""
    for line in text.replace("\\\n", " ").splitlines():
        inner = re.fullmatch(r"\w+=\$\((.*)\)", line)
        words: list[str] = []
        for word in [*shlex.split(inner[1] if inner else line, comments=True), "&&"]:
            if word != "&&":
                words.append(word)
            elif words:
                yield words
                words = []


def test_every_block_is_of_a_kind_that_is_tried() -> None:
    assert {block.language for block in BLOCKS} == {"sh", "console", "python", "bicep", "text"}
    # `text` is output and drawings. tests/infra/test_predicted.py compiles `bicep`.
    # Of `console`, test_printed_commands.py runs the lines that begin with `$`.
    typed = [
        line for block in BLOCKS if block.language == "console" for line in block.text.splitlines() if line[:2] == "$ "
    ]
    assert typed
    assert all(line.startswith("$ imagefeed ") for line in typed)


def test_every_block_of_python_is_run() -> None:
    """The hook of the README is run by test_docs.py, all blocks that open a Reader by test_stories.py."""
    python = [block for block in BLOCKS if block.language == "python"]
    assert [block for block in python if "imagefeed.open_reader(" not in block.text and block.page != "README.md"] == []
    hooks = [block for block in python if block.text.startswith("# hooks.py")]
    assert len(hooks) == 1
    assert len(python) >= 4


@pytest.mark.parametrize("block", SHELL, ids=_name)
def test_a_block_for_a_shell_is_one(block: Block) -> None:
    done = subprocess.run(["sh", "-n", "-c", block.text], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("block", [block for block in SHELL if not block.needs_azure], ids=_name)
def test_a_command_that_needs_no_azure_is_run_by_a_test(block: Block) -> None:
    for words in commands_of(block.text):
        _check_local(words)


def _check_local(words: list[str]) -> None:
    match words:
        case ["imagefeed", *_]:
            # test_printed_commands.py runs these.
            assert shlex.join(words) in {shlex.join(shlex.split(each, comments=True)) for _, each in WRITTEN}
        case ["make", target]:
            # .ci/run runs those of the README; `tests/e2e` runs those that `make run` starts.
            assert target in TARGETS
        case ["cp", source, target]:
            assert (PROJECT / source).is_file()
            assert (PROJECT / target).parent.is_dir()
        case [".", ".local/env"]:
            assert "> .local/env" in (PROJECT / "local/setup.sh").read_text().replace(">.local", "> .local")
        case [".", ".venv/bin/activate"] | ["func", "start"]:
            # test_completions.py and test_core_tools.py start func as its first start is documented.
            pass
        case ["pip", "install", extras]:
            # test_wheel.py installs both, and reads with them.
            asked = re.fullmatch(r"\.\[([a-z,]+)\]", extras)
            assert asked
            assert set(asked[1].split(",")) == {"tables", "identity"}
        case ["export", assignment]:
            assert assignment.partition("=")[0] in FLAT
        case [".venv/bin/python", "-m", module, *options]:
            _check_module(module, options)
        case _:
            pytest.fail(f"no test runs this: {shlex.join(words)}")


def _check_module(module: str, options: list[str]) -> None:
    """Parse a module's options by its own parser."""
    known = subprocess.run(
        [PROJECT / ".venv/bin/python", "-m", module, "--help"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    assert [option for option in options if option.startswith("--") and option not in known] == []


@pytest.mark.parametrize("block", SHELL, ids=_name)
def test_a_command_that_needs_azure_is_marked_and_parsed(block: Block) -> None:
    if block.text.removeprefix(NEEDS_AZURE).startswith("GROUP="):
        # test_workflows.py runs it as a whole, and each of its calls is parsed.
        assert block.needs_azure
        assert block.text in PIPELINES
        return
    found = list(commands_of(block.text))
    assert bool(AZURE_PROGRAMS & {words[0] for words in found}) == block.needs_azure
    for words in found if block.needs_azure else []:
        if words[0] == "az":
            parse(words[1:], commands())
        elif words[0] == "infra/deploy.sh":
            _check_deploy(words[1:])
        else:
            _check_local(words)


def _check_deploy(arguments: list[str]) -> None:
    """Compare a call of infra/deploy.sh with the forms of its own usage."""
    forms = [form.split() for form in re.findall(r"^infra/deploy\.sh (.*?)   *\S", _usage(), re.MULTILINE)]
    flags = [word for word in arguments if word.startswith("--")]
    fitting = [
        form
        for form in forms
        if [word for word in form if word.startswith("--")] == flags
        and len([word for word in form if word[0] != "["]) <= len(arguments) <= len(form)
    ]
    assert fitting, arguments


def _usage() -> str:
    return (PROJECT / "infra/deploy.sh").read_text().partition("cat <<'END'\n")[2].partition("\nEND\n")[0]


def test_az_and_deploy_sh_are_named_with_commands_and_options_that_they_have() -> None:
    """Sentences may omit required arguments."""
    text = "\n".join((PROJECT / page).read_text() for page in PAGES)
    asked = [command.split(" --")[0] for command in re.findall(r"`az ([^`\n]+)`", text)]
    options = set(re.findall(r"`infra/deploy\.sh (--[\w-]+)", text))
    assert len(asked) >= 3
    assert len(options) >= 3
    assert [command for command in asked if command not in commands()] == []
    assert options <= set(re.findall(r"^infra/deploy\.sh (--[\w-]+)", _usage(), re.MULTILINE))


def test_what_the_readme_says_to_type_first_is_typed_by_the_ci() -> None:
    """The CI runs on a bare machine."""
    ours = (PROJECT / ".ci/run").read_text()
    first = BLOCKS[0]
    assert first.page == "README.md"
    typed = [" ".join(words) for words in commands_of(first.text)]
    assert typed == ["make demo", "make test"]
    assert all(re.search(rf"^(?:exec )?{command}$", ours, re.MULTILINE) for command in typed)
