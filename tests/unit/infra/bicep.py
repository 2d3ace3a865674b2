"""Bicep files as values that tests can ask: parameters, modules, resources, and which names mean nothing."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

INFRA = Path(__file__).parents[3] / "infra"
FILES = sorted(INFRA.rglob("*.bicep"))
_PARSER = Parser(Language(tree_sitter_bicep.language()))
_DECLARATIONS = ("parameter", "variable", "resource", "module", "output")


@dataclass(frozen=True, slots=True)
class Expression:
    """A value that is only known when the template runs: its text, spaces apart."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A parameter, variable, resource, module or output."""

    name: str
    kind: str
    type: str
    description: str
    node: Node

    @property
    def optional(self) -> bool:
        """Tell whether a parameter has a default."""
        return self.node.named_children[-1].type != "type"

    @property
    def value(self) -> Any:
        """Read the value, the body of a loop or condition, or a default."""
        last = self.node.named_children[-1]
        while last.type in {"for_statement", "if_statement"}:
            last = last.named_children[-1]
        return read(last)


class Bicep:
    """One file."""

    def __init__(self, text: str, path: Path) -> None:
        self.path = path
        self.root = _PARSER.parse(text.encode()).root_node
        self.declared = tuple(_declared(self.root, ""))

    def of(self, kind: str) -> dict[str, Declared]:
        """Give all declarations of a kind by their names."""
        return {found.name: found for found in self.declared if found.kind == kind}

    def value(self, name: str) -> Any:
        """Read what was declared under a name."""
        return next(found.value for found in self.declared if found.name == name and found.kind != "output")

    def errors(self) -> list[str]:
        """Name the places that are no Bicep."""
        return [
            f"line {n.start_point.row + 1}: {_text(n)[:60]!r}" for n in _walk(self.root) if n.is_error or n.is_missing
        ]

    def used(self) -> set[str]:
        """Give all names that are referred to, functions and locals apart."""
        return set(_references(self.root, frozenset()))

    def calls(self) -> set[str]:
        """Give the names of all functions that are called."""
        found = (n.named_children[0] for n in _walk(self.root) if n.type == "call_expression")
        return {_text(name) for name in found if name.type == "identifier"}

    def outputs_used(self) -> set[tuple[str, str]]:
        """Give all `module.outputs.name`."""
        return set(re.findall(r"\b(\w+)!?\.outputs\.(\w+)", _text(self.root)))


@cache
def bicep(name: str) -> Bicep:
    """Read a file of the folder."""
    path = INFRA / name
    return Bicep(path.read_text(), path)


def parameters() -> Mapping[str, Any]:
    """Read what the parameter file sets; to the parser its assignments are variables."""
    text = re.sub(r"^using .*$", "", (INFRA / "main.bicepparam").read_text(), flags=re.MULTILINE)
    parsed = Bicep(re.sub(r"^param (\w+) =", r"var \1 =", text, flags=re.MULTILINE), INFRA / "main.bicepparam")
    assert not parsed.errors()
    return {name: found.value for name, found in parsed.of("variable").items()}


def read(node: Node) -> Any:
    """Read a literal; what needs a running template becomes an Expression."""
    if node.type == "object":
        pairs = (p.named_children for p in node.named_children if p.type == "object_property")
        return {_key(pair[0]): read(pair[1]) for pair in pairs if len(pair) == 2}
    if node.type == "array":
        return [read(item) for item in node.named_children if item.type != "comment"]
    if node.type == "string" and not any(c.type == "interpolation" for c in node.named_children):
        return "".join(_text(c).removeprefix("\\") for c in node.named_children)
    if node.type == "number":
        return int(_text(node))
    if node.type in {"boolean", "null"}:
        return {"true": True, "false": False, "null": None}[_text(node)]
    return Expression(_text(node))


def _key(node: Node) -> str:
    found = read(node)
    return found.text if isinstance(found, Expression) else str(found)


def _declared(node: Node, description: str) -> Iterator[Declared]:
    for child in node.named_children:
        kind = child.type.removesuffix("_declaration")
        if child.type == "decorators":
            description = next((_description(d) for d in child.named_children if "description" in _text(d)), "")
            continue
        if child.type.endswith("_declaration") and kind in _DECLARATIONS:
            name, kind_of = child.named_children[0], child.named_children[1]
            type_of = read(kind_of) if kind_of.type == "string" else _text(kind_of)
            yield Declared(name=_text(name), kind=kind, type=str(type_of), description=description, node=child)
        yield from _declared(child, "")
        if child.type != "comment":
            description = ""


def _description(decorator: Node) -> str:
    return str(next(read(n) for n in _walk(decorator) if n.type == "string"))


def _references(node: Node, local: frozenset[str]) -> Iterator[str]:
    """Follow scopes: what a loop or lambda names is known inside it alone."""
    children = list(node.named_children)
    if node.type == "identifier":
        if _text(node) not in local:
            yield _text(node)
        return
    if node.type in {"decorators", "type", "comment"}:
        return
    if node.type in {"for_statement", "lambda_expression"}:
        named, *children = children
        local |= {_text(n) for n in _walk(named) if n.type in {"identifier", "loop_variable", "loop_enumerator"}}
    elif node.type in {"call_expression", "object_property"} and children[0].type == "identifier":
        children = children[1:]
    elif node.type == "resource_expression":
        children = children[:1]
    elif node.type.endswith("_declaration"):
        children = children[1:]
    elif node.type == "member_expression" and children[0].type == "lambda_expression":
        # The grammar takes `x => x.key` for `(x => x).key`: read it as it is meant.
        children = children[:1]
    for child in children:
        yield from _references(child, local)


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _text(node: Node) -> str:
    return (node.text or b"").decode()
