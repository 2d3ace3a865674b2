"""The only reader of the environment: app settings in, values out, and one error that names all that is wrong."""

import difflib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import cache
from typing import Any, get_type_hints
from urllib.parse import unquote, urlsplit

from config.errors import SettingsError
from config.schedules import Schedule
from config.types import Name, Setting
from ingest.model import Endpoint, SourceSpec
from ingest.protocols.host_keys import host_key_problem, scan_command
from ingest.protocols.private_keys import private_key_problem
from preprocess.model import BatchSizes, Limits, Recipe
from preprocess.recipe import check_recipe, load_hook

_PORTS = {"sftp": 22, "ftp": 21, "ftpes": 21, "ftps": 990}


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Where results go: a connection string, or the three services' addresses and an identity."""

    connection: str | None = field(default=None, repr=False)
    """Connection string of the storage account, for Azurite or where keys are allowed. With an identity, set the four
    below instead."""
    blob: str | None = None
    """Address of the blob service, such as `https://account.blob.core.windows.net`."""
    queue: str | None = None
    """Address of the queue service."""
    table: str | None = None
    """Address of the table service."""
    client_id: str | None = None
    """Client id of the user-assigned managed identity. Unset: the ambient identity is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """How results are kept and re-driven."""

    name: Name | None = None
    """Name under which results are kept. Unset: a short hash of the `PREPROCESS_` settings that differ from the
    defaults of 0.1.0, and of the hook's source ([pipelines](pipelines.md))."""
    redrive_after: timedelta = timedelta(minutes=15)
    """A batch that has failed and is not done by then is put on the queue again; the time doubles with each try. A
    batch whose process died does not wait for it ([reliability](reliability.md))."""
    redrive_tries: int = 6
    """Tries after the first one before an archive is `failed`. A try counts once it has begun."""
    window: timedelta = timedelta(hours=72)
    """How far back `reconcile` looks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """How much of an image goes into rows."""

    max_rows_per_image: int = 8
    """An image that needs more rows of 704 KiB than this is kept in its shard alone; its row links there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedules:
    """NCRONTAB expressions of the two timers: seconds, minutes, hours, day, month, weekday; UTC."""

    poll: Schedule = "*/30 * * * * *"
    """When sources are polled: six NCRONTAB fields (seconds first, weekdays 0 to 6), UTC. The functions host reads both
    schedules itself; deployment and `make run` set them. `func start` without them reports that they do "not resolve to
    a value" and switches the function off."""
    reconcile: Schedule = "0 */5 * * * *"
    """When `reconcile` looks for unfinished work and resumes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One source: how to reach it, and what to copy."""

    endpoint: Endpoint
    spec: SourceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that an operator can set."""

    storage: Storage
    sources: Mapping[str, Source]
    recipe: Recipe
    limits: Limits
    batches: BatchSizes
    table: Table
    pipeline: Pipeline
    schedules: Schedules

    @property
    def member_encodings(self) -> Mapping[str, str]:
        """Return the encodings of member names, of the sources that set one."""
        specs = [source.spec for source in self.sources.values()]
        return {spec.name: spec.member_encoding for spec in specs if spec.member_encoding}


def _group(prefix: str, group: type, suffix: str = "") -> dict[str, Setting]:
    hints = get_type_hints(group, include_extras=True)
    return {f"{prefix}{f.name.upper()}{suffix}": Setting(group, f, hints[f.name]) for f in fields(group)}


_STORAGE_NAMES = {
    "connection": "DATA_STORAGE",
    "blob": "DATA_STORAGE__blobServiceUri",
    "queue": "DATA_STORAGE__queueServiceUri",
    "table": "DATA_STORAGE__tableServiceUri",
    "client_id": "DATA_STORAGE__clientId",
}
"""The names that the queue triggers read as well; Azure Functions fixes their spelling."""

FLAT: Mapping[str, Setting] = {
    **{_STORAGE_NAMES[s.field.name]: s for s in _group("", Storage).values()},
    **_group("", Schedules, "_SCHEDULE"),
    **_group("PREPROCESS_", Recipe),
    **_group("LIMIT_", Limits),
    **_group("BATCH_", BatchSizes),
    **_group("TABLE_", Table),
    **_group("PIPELINE_", Pipeline),
}
"""Every setting outside sources, by its name."""

_FROM_URL = {"scheme", "host", "port", "user", "folder", "name"}
PER_SOURCE: Mapping[str, Setting] = {
    name: setting
    for name, setting in {**_group("", Endpoint), **_group("", SourceSpec)}.items()
    if setting.field.name not in _FROM_URL
}
"""Every setting of a source, `SOURCES__<NAME>__<this>`; `URL` comes on top."""

_OWN = re.compile(
    r"(DATA_STORAGE(__|$)|SOURCES__|PREPROCESS_|LIMIT_|BATCH_|TABLE_|PIPELINE_|(POLL|RECONCILE)_SCHEDULE$)"
)
_SOURCE_NAME = re.compile(r"(?!(MANUAL|SMOKE)$)[A-Z0-9_]{1,32}")
"""`manual` is the source of archives that somebody puts into storage by hand, `smoke` that of the smoke test."""
_NEARLY_SOURCES = re.compile(r"SOU?R[CS]ES?_(.*_)?_")
_OF_THE_PLATFORM = {"DATA_STORAGE__CREDENTIAL"}
_TWIN = re.compile(r"((CONNECTIONSTRINGS__)?AZUREWEBJOBS|CONNECTIONSTRINGS__)DATA_STORAGE(__|$)")
"""Settings that the functions host reads in place of DATA_STORAGE; it takes an empty one for set."""


@cache
def settings() -> Settings:
    """Read the environment, once. The hook is not tried: one that fails must not keep archives from being copied."""
    return _Reading(os.environ).settings(with_hook=False)


def environment() -> Mapping[str, str]:
    """Give what there is of settings in the environment, as text; a new shell has none."""
    return {
        name: text
        for name, text in os.environ.items()
        if (_OWN.match(name.upper()) and text.strip()) or _TWIN.match(name.upper())
    }


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return Settings, made of app settings. Raises SettingsError that names all that is wrong, the hook included."""
    return _Reading(environ).settings()


def read_storage(environ: Mapping[str, str] = os.environ) -> Storage:
    """Read only where storage is, which is all that a program needs that reads results. Raises SettingsError."""
    return _Reading({name: text for name, text in environ.items() if name.upper().startswith("DATA_STORAGE")}).storage()


def read_pipeline(environ: Mapping[str, str] = os.environ) -> tuple[Recipe, Pipeline]:
    """Read only what decides the pipeline; sources are not asked for. Raises SettingsError."""
    return _Reading(environ).pipeline()


def read_limits(environ: Mapping[str, str] = os.environ) -> Limits:
    """Read only what preprocessing accepts. Raises SettingsError."""
    return Limits(**_Reading(environ).groups()[Limits])


def read_specs(environ: Mapping[str, str] = os.environ) -> Mapping[str, SourceSpec]:
    """Read what each source promises, without how to reach it: a program that only looks needs no password.

    Empty where no source is set. Raises SettingsError.
    """
    return _Reading({name: text for name, text in environ.items() if name.upper().startswith("SOURCES__")}).specs()


class _Reading:
    """One pass over the environment that collects every problem instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.values = {k.upper(): v for k, v in environ.items() if _OWN.match(k.upper()) and v.strip()}
        self.twins = [k for k in environ if _TWIN.match(k.upper())]
        self.others = [k.upper() for k, v in environ.items() if not _OWN.match(k.upper()) and v.strip()]
        self.problems: list[str] = []

    def settings(self, *, with_hook: bool = True) -> Settings:
        groups = self._flat()
        self._check_misspelt()
        self._check_twins()
        storage = self._storage(groups)
        recipe = self._recipe(groups, with_hook=with_hook)
        sources = self._sources()
        self._raise_problems()
        return Settings(
            storage=storage,
            sources=sources,
            recipe=recipe,
            limits=Limits(**groups[Limits]),
            batches=BatchSizes(**groups[BatchSizes]),
            table=Table(**groups[Table]),
            pipeline=Pipeline(**groups[Pipeline]),
            schedules=Schedules(**groups[Schedules]),
        )

    def storage(self) -> Storage:
        storage = self._storage(self._flat())
        self._raise_problems()
        return storage

    def pipeline(self) -> tuple[Recipe, Pipeline]:
        groups = self._flat()
        recipe = self._recipe(groups, with_hook=True)
        self._raise_problems()
        return recipe, Pipeline(**groups[Pipeline])

    def groups(self) -> dict[type, dict[str, Any]]:
        groups = self._flat()
        self._raise_problems()
        return groups

    def specs(self) -> dict[str, SourceSpec]:
        specs: dict[str, SourceSpec] = {}
        for name, keys in self._by_source().items():
            values: dict[str, Any] = {"name": _source_name(name)}
            for field_name, key in keys.items():
                setting = PER_SOURCE.get(field_name)
                if setting is not None and setting.group is SourceSpec:
                    self._read(key, setting, values)
            specs[values["name"]] = SourceSpec(**values)
        self._raise_problems()
        return specs

    def _flat(self) -> dict[type, dict[str, Any]]:
        flat = {name.upper(): (name, setting) for name, setting in FLAT.items()}
        groups: dict[type, dict[str, Any]] = defaultdict(dict)
        for key in self.values:
            if key in flat:
                name, setting = flat[key]
                self._read(name, setting, groups[setting.group])
            elif not key.startswith("SOURCES__") and key not in _OF_THE_PLATFORM:
                self._unknown(key, [*FLAT])
        return groups

    def _recipe(self, groups: Mapping[type, Mapping[str, Any]], *, with_hook: bool) -> Recipe:
        """Hold the recipe's settings against each other, unless one of them could not be read."""
        recipe = Recipe(**groups[Recipe])
        if any(problem.startswith("PREPROCESS_") for problem in self.problems):
            return recipe
        self._collect(check_recipe, recipe)
        if recipe.hook and with_hook:
            self._collect(load_hook, recipe.hook)
        return recipe

    def _collect[T](self, check: Callable[[T], object], value: T) -> None:
        try:
            check(value)
        except SettingsError as exc:
            self.problems += exc.problems

    def _check_misspelt(self) -> None:
        """Name what is misspelt at its beginning; the environment is full of names that are none of ours."""
        for key in self.others:
            if _NEARLY_SOURCES.match(key):
                self.problems.append(f"{key} is unknown: did you mean SOURCES__<NAME>__…?")
            elif difflib.get_close_matches(key, [name.upper() for name in FLAT], cutoff=0.9):
                self._unknown(key, [*FLAT])

    def _check_twins(self) -> None:
        for name in self.twins:
            self.problems.append(f"{name} must not be set: the queue triggers would read it in place of DATA_STORAGE")

    def _raise_problems(self) -> None:
        if self.problems:
            raise SettingsError("settings", self.problems)

    def _storage(self, groups: Mapping[type, Mapping[str, Any]]) -> Storage:
        storage = Storage(**groups[Storage])
        if storage.connection is None and None in (storage.blob, storage.queue, storage.table):
            self.problems.append(
                "DATA_STORAGE is missing: set it to a connection string, or set DATA_STORAGE__blobServiceUri, "
                "DATA_STORAGE__queueServiceUri and DATA_STORAGE__tableServiceUri to use an identity"
            )
        return storage

    def _sources(self) -> dict[str, Source]:
        grouped = self._by_source()
        if not grouped:
            self.problems.append("no source: set SOURCES__<NAME>__URL, such as sftp://user@host:22/folder")
        sources = {_source_name(name): self._source(name, keys) for name, keys in grouped.items()}
        return {name: source for name, source in sources.items() if source is not None}

    def _by_source(self) -> dict[str, dict[str, str]]:
        """Give each source's keys, by what comes behind its name."""
        grouped: dict[str, dict[str, str]] = {}
        for key in sorted(self.values):
            if key.startswith("SOURCES__"):
                _, name, *rest = key.split("__", 2)
                grouped.setdefault(name, {})["".join(rest)] = key
        return grouped

    def _source(self, name: str, keys: Mapping[str, str]) -> Source | None:
        before = len(self.problems)
        if not _SOURCE_NAME.fullmatch(name):
            self.problems.append(
                f"SOURCES__{name}: the name must be 1 to 32 of A-Z, 0-9 and _, and neither MANUAL nor SMOKE"
            )
        groups: dict[type, dict[str, Any]] = {Endpoint: {}, SourceSpec: {"name": _source_name(name)}}
        for field_name, key in keys.items():
            if field_name in PER_SOURCE:
                setting = PER_SOURCE[field_name]
                self._read(key, setting, groups[setting.group])
            elif field_name != "URL":
                self._unknown(key, [f"SOURCES__{name}__{known}" for known in ("URL", *PER_SOURCE)])
        self._url(f"SOURCES__{name}__URL", groups[Endpoint])
        if len(self.problems) > before:
            return None
        return Source(endpoint=Endpoint(**groups[Endpoint]), spec=SourceSpec(**groups[SourceSpec]))

    def _url(self, key: str, endpoint: dict[str, Any]) -> None:
        try:
            url = urlsplit(self.values.get(key, "").strip())
            scheme, host, port = url.scheme, url.hostname, url.port
        except ValueError:
            self.problems.append(f"{key} is no URL: it must be like sftp://user@host:22/folder")
            return
        if scheme not in _PORTS or not host:
            problem = "is missing" if key not in self.values else "is wrong"
            self.problems.append(f"{key} {problem}: it must be like sftp://user@host:22/folder ({', '.join(_PORTS)})")
            return
        if url.password is not None:
            self.problems.append(f"{key} holds a password: set {key[:-3]}PASSWORD instead")
        endpoint |= {"scheme": scheme, "host": host, "port": port or _PORTS[scheme], "folder": _folder(url.path)}
        if url.username:
            endpoint["user"] = unquote(url.username)
        if scheme == "sftp":
            self._check_sftp(key[:-3], url.username, endpoint)

    def _check_sftp(self, prefix: str, user: str | None, endpoint: Mapping[str, Any]) -> None:
        host, port = endpoint["host"], endpoint["port"]
        if not user:
            self.problems.append(f"{prefix}URL names no user: sftp://user@host/folder")
        if "host_key" not in endpoint:
            self.problems.append(
                f"{prefix}HOST_KEY is missing: take a line that `{scan_command(host, port)}` prints, and compare its "
                "fingerprint with what the server's owner says"
            )
        elif problem := host_key_problem(endpoint["host_key"], host, port):
            self.problems.append(f"{prefix}HOST_KEY is wrong: {problem}")
        if "private_key" in endpoint:
            if problem := private_key_problem(endpoint["private_key"], endpoint.get("passphrase")):
                self.problems.append(f"{prefix}PRIVATE_KEY is wrong: {problem}")
        elif "password" not in endpoint:
            self.problems.append(f"{prefix}PASSWORD or {prefix}PRIVATE_KEY is missing")

    def _read(self, name: str, setting: Setting, into: dict[str, Any]) -> None:
        text = self.values[name.upper()]
        if text.strip().startswith("@Microsoft.KeyVault("):
            self.problems.append(
                f"{name}: its Key Vault reference was not resolved; check that the secret exists and that the app's "
                "identity may read it (Key Vault Secrets User)"
            )
            return
        try:
            into[setting.field.name] = setting.read(text)
        except SettingsError as exc:
            self.problems.append(f"{name} is wrong: {exc}")
        except (ValueError, LookupError, OSError):
            self.problems.append(f"{name} is wrong: it must be {setting.accepts}")

    def _unknown(self, key: str, known: list[str]) -> None:
        spelt = {name.upper(): name for name in known}
        near = difflib.get_close_matches(key, spelt, n=1)
        self.problems.append(f"{key} is unknown" + (f": did you mean {spelt[near[0]]}?" if near else ""))


def _folder(path: str) -> str:
    """Return the folder that a URL's path names: `/~/outgoing` is below the folder that a login leads to."""
    home = path == "/~" or path.startswith("/~/")
    return unquote(path[3:].lstrip("/") if home else path) or "."


def _source_name(name: str) -> str:
    """App settings know no hyphen on Linux: `SOUTH_RADAR` is the source `south-radar`."""
    return name.lower().replace("_", "-")
