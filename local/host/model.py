"""Values that host and worker exchange."""

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
    """Options of the decorator, with the names of function.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function of the app."""

    name: str
    trigger: Binding
    outputs: tuple[Binding, ...] = ()
    others: tuple[Binding, ...] = ()
    """Input bindings besides the trigger."""
    problem: str | None = None
    """Why it cannot run, such as an invalid setting, schedule or connection; None if it can."""
    disabled: bool = False
    """The trigger is disabled; only the host's admin API can start the function."""

    @property
    def runs(self) -> bool:
        """Whether the trigger starts the function."""
        return self.problem is None and not self.disabled


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of an invocation: the function's outputs, or an error."""

    error: RpcException | None = None
    outputs: Mapping[str, TypedData] = field(default_factory=dict)
    """Values by the binding's name; `$return` is the return value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Request to a worker: index the app in a folder."""

    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Response of a worker to `Load`."""

    functions: tuple[Function, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """Request to a worker: run a function."""

    id: str
    function: str
    argument: str
    """Name of the trigger's parameter."""
    trigger: TypedData
    metadata: Mapping[str, TypedData]
    trace_parent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Response of a worker to `Invocation`."""

    id: str
    outcome: Outcome
