"""Identity of a user's hook: the tokens of its module, and of the modules that it imports from the same folder."""

import ast
import io
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

_OURS = {"bootstrap", "config", "function_app", "imagefeed", "ingest", "ops", "preprocess", "storage"}
"""The app's own packages beside the hook. They are left out, so that an upgrade does not rename a pipeline."""
_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
_BLOCKS = {tokenize.NEWLINE: "\n", tokenize.INDENT: ">", tokenize.DEDENT: "<"}


def hook_source(module: ModuleType | None) -> str:
    """Return the tokens of a module and of all modules that it imports from its own folder, sorted by name.

    The result does not depend on the Python version, comments or layout. Raises OSError or TypeError if a module has no
    source.
    """
    file = Path(getattr(module, "__file__", None) or "")
    if module is None or file.suffix != ".py":
        raise OSError("it is not in a Python file")
    root = file.parents[module.__name__.count(".") + (file.name == "__init__.py")]
    found: dict[str, str] = {}
    waiting = [(module.__name__, file)]
    while waiting:
        name, path = waiting.pop()
        if name not in found:
            text = path.read_bytes()
            found[name] = _tokens(text)
            waiting += _beside(text, name, path, root)
    return "\n".join(f"# {name}\n{found[name]}" for name in sorted(found))


def _tokens(text: bytes) -> str:
    """Return the tokens, one per line. Blocks are written as `>` and `<`, so that any indentation gives the same."""
    text = text.replace(b"\r\n", b"\n")
    source = text.decode(tokenize.detect_encoding(io.BytesIO(text).readline)[0])
    lines = source.splitlines(keepends=True)
    written: list[str] = []
    opened: list[tuple[int, int]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        # An f-string is one token before Python 3.12 and several since then. Here it is always one, as written.
        if kind.endswith("STRING_START"):
            opened.append(token.start)
        elif kind.endswith("STRING_END"):
            start = opened.pop()
            if not opened:
                written.append(_between(lines, start, token.end))
        elif not opened and token.type not in _LAYOUT:
            written.append(_BLOCKS.get(token.type, token.string))
    return "\n".join(written)


def _between(lines: Sequence[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    spelt = list(lines[start[0] - 1 : end[0]])
    spelt[-1] = spelt[-1][: end[1]]
    spelt[0] = spelt[0][start[1] :]
    return "".join(spelt)


def _beside(text: bytes, name: str, path: Path, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and file of each module under `root` that a module imports, including imports in its functions."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(filter(None, [*start, node.module]))
            names = [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)]
        else:
            continue
        for imported in names:
            yield from _files(imported, root)


def _files(name: str, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield a module's file and those of its packages, if they are the user's own."""
    parts = name.split(".")
    if parts[0] in _OURS or parts[0] in sys.stdlib_module_names:
        return
    for length in range(1, len(parts) + 1):
        module = ".".join(parts[:length])
        place = root.joinpath(*parts[:length])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if module and file.is_file():
                yield module, file
