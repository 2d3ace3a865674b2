"""Errors of a user's hook, in one line that names its file and line number."""

import inspect
import traceback
from pathlib import Path

from imagefeed.errors import MemberRefusedError
from preprocess.image.formats import printable
from preprocess.model import Hook

_MOST = 200
"""Characters kept of a hook's error message."""


class HookFailedError(MemberRefusedError):
    """The user's hook raised an error of its own."""


def hook_failed(hook: Hook, error: Exception) -> HookFailedError:
    """Return the error that refuses a member because its hook raised `error`. The traceback is only logged."""
    message = printable(str(error), _MOST)
    what = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return HookFailedError(f"{name_of(hook, error)} failed: {what}")


def name_of(hook: Hook, error: Exception | None = None) -> str:
    """Return the hook's setting with file and line: the error's line in the hook's module, else the hook's first."""
    module, place = inspect.getmodule(hook), None
    if error is not None and module is not None:
        frames = traceback.extract_tb(error.__traceback__)
        place = next((frame.lineno for frame in reversed(frames) if frame.filename == module.__file__), None)
    code = getattr(inspect.unwrap(hook), "__code__", None)
    if place is None and code is not None:
        place = code.co_firstlineno
    if module is None or module.__file__ is None or place is None:
        return "PREPROCESS_HOOK"
    file = Path(module.__file__)
    depth = module.__name__.count(".") + (2 if file.name == "__init__.py" else 1)
    return f"PREPROCESS_HOOK ({'/'.join(file.parts[-depth:])}:{place})"
