"""Check functions and their bindings at start, so that errors do not appear only at the first call."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from local.host.app import HostError, is_disabled, resolve
from local.host.model import Binding, Function

_TRIGGERS = ("timerTrigger", "queueTrigger", "eventGridTrigger", "httpTrigger")
_OUTPUTS = ("queue", "http")
_QUEUE_NAME = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")


def checked(function: Function, environ: Mapping[str, str]) -> Function:
    """Return a function with `%NAME%` in its bindings resolved; if it cannot run, `problem` holds the reason."""
    try:
        _check_types(function)
        function = replace(
            function,
            trigger=_resolved(function.trigger, environ),
            outputs=tuple(_resolved(output, environ) for output in function.outputs),
        )
    except HostError as exc:
        return replace(function, problem=str(exc))
    return replace(function, disabled=is_disabled(function.name, environ))


def _check_types(function: Function) -> None:
    unknown = [
        *([] if function.trigger.type in _TRIGGERS else [function.trigger.type]),
        *(output.type for output in function.outputs if output.type not in _OUTPUTS),
        *(other.type for other in function.others),
    ]
    if unknown:
        known = ", ".join(sorted({*_TRIGGERS, *_OUTPUTS}))
        raise HostError(
            f"it has the binding {unknown[0]}, which this host does not support (it supports {known}): "
            "run the app with `func start`"
        )


def _resolved(binding: Binding, environ: Mapping[str, str]) -> Binding:
    options: dict[str, Any] = {
        name: resolve(value, environ) if isinstance(value, str) else value for name, value in binding.options.items()
    }
    return replace(binding, options=options)


def queue_name(binding: Binding) -> str:
    """Return the queue name of a trigger or output, in lower case like WebJobs. Raises HostError if it is invalid."""
    name = str(binding.options["queueName"]).lower()
    if not _QUEUE_NAME.fullmatch(name):
        raise HostError(
            f"{name!r} cannot be the name of a queue: it must be 3 to 63 letters, digits and single dashes between them"
        )
    return name
