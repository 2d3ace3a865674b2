"""The seam to Microsoft's worker library: load an app, list its functions, invoke one.

The library keeps the app in module globals: one app per process.
"""

import json
import secrets
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure_functions_runtime as library

from local.host.app import HostError
from local.host.protos import PROTOS, ParameterBinding, RpcException, TypedData


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

    id: str
    name: str
    trigger: Binding
    outputs: tuple[Binding, ...] = ()
    others: tuple[Binding, ...] = ()
    """Input bindings besides the trigger."""
    disabled: bool = False
    """Its trigger is switched off: only a call of the host's own API still runs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an invocation ended: with what it gave back, or with an error."""

    error: RpcException | None = None
    outputs: Mapping[str, TypedData] = field(default_factory=dict)
    """By the binding's name; `$return` is what the function returned."""


class Worker:
    """The one app of this process."""

    async def load(self, folder: Path) -> list[Function]:
        """Index the app in `folder`, which comes behind all packages on `sys.path`. Raises HostError."""
        _put_behind_packages(str(folder))
        library.start_threadpool_executor()
        init = SimpleNamespace(capabilities={}, function_app_directory=str(folder))
        try:
            answer = await library.worker_init_request(_request(worker_init_request=init))
        except SystemExit as exc:
            raise HostError(f"loading {folder / 'function_app.py'} called for exit with {exc.code!r}") from exc
        if answer.result.exception is not None:
            raise HostError(f"the app cannot be loaded: {_told(answer.result.exception)}")
        if "HttpUri" in answer.capabilities:
            raise HostError("the app streams HTTP (azurefunctions-extensions-http-fastapi): run it with `func start`")
        metadata = await library.functions_metadata_request(_request())
        functions = [_function(found) for found in metadata.function_metadata_results or ()]
        if not functions:
            raise HostError(f"{folder / 'function_app.py'} has no functions: decorate them with the app's triggers")
        return functions

    async def invoke(
        self, function: Function, invocation: str, trigger: TypedData, metadata: Mapping[str, TypedData]
    ) -> Outcome:
        """Run one function to its end, in the library's thread pool unless it is `async`."""
        request = SimpleNamespace(
            invocation_id=invocation,
            function_id=function.id,
            input_data=[ParameterBinding(name=function.trigger.name, data=trigger)],
            trigger_metadata=metadata,
            trace_context=SimpleNamespace(trace_parent=_trace_parent(), trace_state="", attributes={}),
            retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
        )
        try:
            answer = await library.invocation_request(_request(invocation_request=request))
        except SystemExit as exc:
            # The library guards against Exception only; one function must not end the host.
            return Outcome(error=RpcException(message=f"SystemExit: {exc.code}", stack_trace=traceback.format_exc()))
        if answer.result.exception is not None:
            return Outcome(error=answer.result.exception)
        outputs = {output.name: output.data for output in answer.output_data}
        if answer.return_value is not None:
            outputs["$return"] = answer.return_value
        return Outcome(outputs=outputs)

    def close(self) -> None:
        """Wait for the threads of the pool, and end them."""
        library.stop_threadpool_executor()


def _put_behind_packages(folder: str) -> None:
    """Order `sys.path` as the real worker does: packages first, the app last.

    This host's own folder, which Azure does not have, comes even later: the app is never looked for there.
    """
    own = str(Path(__file__).parents[2])
    sys.path[:] = [*(entry for entry in sys.path if entry not in (folder, own)), folder, own]


def _request(**attributes: Any) -> Any:
    return SimpleNamespace(request=SimpleNamespace(**attributes), properties={"protos": PROTOS, "host": "127.0.0.1"})


def _told(exception: RpcException) -> str:
    # The library appends the whole of sys.path to an ImportError's message; the traceback says it better.
    return exception.stack_trace.strip() or exception.message


def _function(metadata: Any) -> Function:
    bindings = [json.loads(text) for text in metadata.raw_bindings]
    triggers = [binding for binding in bindings if binding["type"].lower().endswith("trigger")]
    if len(triggers) != 1:
        raise HostError(f"function {metadata.name} has {len(triggers)} triggers; it must have one")
    others = [binding for binding in bindings if binding is not triggers[0]]
    return Function(
        id=metadata.function_id,
        name=metadata.name,
        trigger=_binding(triggers[0]),
        outputs=tuple(_binding(other) for other in others if other["direction"] == "OUT"),
        others=tuple(_binding(other) for other in others if other["direction"] != "OUT"),
    )


def _binding(raw: Mapping[str, Any]) -> Binding:
    return Binding(type=raw["type"], name=raw["name"], options=raw)


def _trace_parent() -> str:
    """Make a W3C traceparent of a new, sampled trace."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
