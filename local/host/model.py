"""The values that host and worker exchange."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.host.protos import RpcException, TypedData


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A trigger or an output of a function."""

    type: str
    name: str
    options: Mapping[str, Any]
    """As the decorator gave them, in function.json's spelling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function of the app."""

    name: str
    trigger: Binding
    outputs: tuple[Binding, ...] = ()
    others: tuple[Binding, ...] = ()
    """Input bindings besides the trigger."""
    problem: str | None = None
    """Why it cannot run: a setting, schedule or connection that does not resolve."""
    disabled: bool = False
    """Its trigger is switched off: only a call of the host's own API still runs it."""

    @property
    def runs(self) -> bool:
        """Whether its trigger starts it."""
        return self.problem is None and not self.disabled


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of an invocation: what the function returned, or an error."""

    error: RpcException | None = None
    outputs: Mapping[str, TypedData] = field(default_factory=dict)
    """By the binding's name; `$return` is what the function returned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Asks a worker to index the app in a folder."""

    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A worker's answer to `Load`."""

    functions: tuple[Function, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """Asks a worker to run a function."""

    id: str
    function: str
    argument: str
    """The name of the trigger's parameter."""
    trigger: TypedData
    metadata: Mapping[str, TypedData]
    trace_parent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A worker's answer to `Invocation`."""

    id: str
    outcome: Outcome
