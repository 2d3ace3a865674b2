"""The recipe as a whole: its validation, the pipeline name of its results, and the user's hook."""

import hashlib
import importlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, cast

from config.errors import SettingsError
from preprocess.hook_source import hook_source
from preprocess.model import Hook, Recipe

_FROZEN: dict[str, Any] = {
    "width": 224,
    "height": 224,
    "fit": "cover",
    "crop": None,
    "colour": "RGB",
    "dtype": "uint8",
    "scale": 1.0,
    "mean": (),
    "std": (),
    "resample": "lanczos",
    "codec": "npy",
    "hook": None,
}
"""The defaults of 0.1.0, which must never change: pipeline names are hashes of the settings that differ from them. A
later setting has here the value that stands for the earlier behaviour, so that it renames no pipeline."""
_CHANNELS = {"L": 1, "RGB": 3}
_MAX_PIXELS = 100_000_000
"""Pixels of a result. A colour image of 32-bit floats then takes 1.2 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Name under which a recipe's results are stored, and the hash of all that decides them."""

    pipeline: str
    fingerprint: str
    hook: Hook | None


def identify(recipe: Recipe, name: str | None) -> Identity:
    """Return the identity of a recipe's pipeline, with the user's `name` if there is one. Raises SettingsError."""
    check_recipe(recipe)
    hook = load_hook(recipe.hook) if recipe.hook else None
    return Identity(pipeline=name or pipeline_name(recipe, hook), fingerprint=fingerprint(recipe, hook), hook=hook)


def check_recipe(recipe: Recipe) -> None:
    """Check the settings against each other. Raises one SettingsError that lists all problems."""
    problems = list(_problems(recipe))
    if problems:
        raise SettingsError("preprocessing settings", problems)


def _problems(recipe: Recipe) -> Iterator[str]:
    if recipe.fit != "none" and recipe.width * recipe.height > _MAX_PIXELS:
        yield f"PREPROCESS_WIDTH and PREPROCESS_HEIGHT must not make images of more than {_MAX_PIXELS:,} pixels"
    if recipe.crop is not None:
        left, upper, right, lower = recipe.crop
        if not (0 <= left < right and 0 <= upper < lower):
            yield "PREPROCESS_CROP must be left,upper,right,lower with left < right and upper < lower"
    for name, numbers in (("MEAN", recipe.mean), ("STD", recipe.std)):
        channels = _CHANNELS.get(recipe.colour)
        if numbers and channels and len(numbers) not in (1, channels):
            yield f"PREPROCESS_{name} must have 1 or {channels} numbers for PREPROCESS_COLOUR={recipe.colour}"
    if 0 in recipe.std:
        yield "PREPROCESS_STD must not be 0"
    if recipe.codec == "png" and (recipe.dtype.startswith("float") or (recipe.dtype == "keep" and _is_scaled(recipe))):
        yield "PREPROCESS_CODEC=png holds uint8 and uint16 only: set PREPROCESS_DTYPE to one, or the codec to npy"
    if recipe.codec == "png" and recipe.dtype == "uint16" and recipe.colour == "RGB":
        yield "PREPROCESS_CODEC=png holds uint16 for one channel only: set PREPROCESS_COLOUR=L, or the codec to npy"


def _is_scaled(recipe: Recipe) -> bool:
    return recipe.scale != 1 or bool(recipe.mean or recipe.std)


def fingerprint(recipe: Recipe, hook: Hook | None) -> str:
    """Return a hash of what decides the results: settings that differ from `_FROZEN`, and the hook's source.

    Decoders are not included: each result records the version of its decoder. Raises SettingsError.
    """
    changed = {name: value for name, value in asdict(recipe).items() if value != _FROZEN[name]}
    metadata = {"recipe": changed, "hook": None if hook is None else _source(hook)}
    return hashlib.sha256(json.dumps(metadata, sort_keys=True).encode()).hexdigest()


def pipeline_name(recipe: Recipe, hook: Hook | None) -> str:
    """Return the pipeline name of a recipe for which the user sets no name."""
    return f"p-{fingerprint(recipe, hook)[:8]}"


def load_hook(spec: str) -> Hook:
    """Import and return the hook `package.module:function`. Raises SettingsError."""
    module_name, colon, name = spec.partition(":")
    if not (colon and module_name and name):
        raise SettingsError(f"PREPROCESS_HOOK={spec} is wrong: it must be like package.module:function")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as exc:
        why = f"{type(exc).__name__}: {exc}"
        raise SettingsError(f"PREPROCESS_HOOK={spec}: cannot import {module_name}: {why}") from exc
    hook = getattr(module, name, None)
    if not callable(hook):
        raise SettingsError(f"PREPROCESS_HOOK={spec}: {module_name} has no function {name}")
    return cast(Hook, hook)


def _source(hook: Hook) -> str:
    module = inspect.getmodule(hook)
    try:
        return f"{getattr(hook, '__qualname__', '')}\n{hook_source(module)}"
    except (OSError, TypeError) as exc:
        raise SettingsError(
            f"PREPROCESS_HOOK: the source of {hook!r} cannot be read, and results are named after it; "
            "set PREPROCESS_HOOK to a function of a Python file"
        ) from exc
