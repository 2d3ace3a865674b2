"""What this host can bind, said at start rather than at the first call."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from local.host.app import HostError, is_disabled, resolve
from local.host.worker import Binding, Function

_TRIGGERS = ("timerTrigger", "queueTrigger", "eventGridTrigger", "httpTrigger")
_OUTPUTS = ("queue", "http")


def checked(function: Function, environ: Mapping[str, str]) -> Function:
    """Resolve `%NAME%` in a function's bindings. Raises HostError for what this host cannot bind."""
    unknown = [
        *([] if function.trigger.type in _TRIGGERS else [function.trigger.type]),
        *(output.type for output in function.outputs if output.type not in _OUTPUTS),
        *(other.type for other in function.others),
    ]
    if unknown:
        known = ", ".join(sorted({*_TRIGGERS, *_OUTPUTS}))
        raise HostError(
            f"function {function.name} has the binding {unknown[0]}, which this host does not know (it knows {known}): "
            "run the app with `func start`"
        )
    try:
        return replace(
            function,
            trigger=_resolved(function.trigger, environ),
            outputs=tuple(_resolved(output, environ) for output in function.outputs),
            disabled=is_disabled(function.name, environ),
        )
    except HostError as exc:
        raise HostError(f"function {function.name}: {exc}") from exc


def _resolved(binding: Binding, environ: Mapping[str, str]) -> Binding:
    options: dict[str, Any] = {
        name: resolve(value, environ) if isinstance(value, str) else value for name, value in binding.options.items()
    }
    return replace(binding, options=options)
