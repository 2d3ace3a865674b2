"""Read app settings from the environment, for all other modules. One error names every problem."""

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
    """Storage account for results: a connection string, or the addresses of three services and an identity."""

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
    """Name of the results, and the retries of unfinished batches."""

    name: Name | None = None
    """Name under which results are kept. Unset: a short hash of the `PREPROCESS_` settings that differ from the
    defaults of 0.1.0, and of the hook's source ([pipelines](pipelines.md))."""
    redrive_after: timedelta = timedelta(minutes=15)
    """Time after which a failed batch is put on the queue again; it doubles with each try. A batch whose process died
    does not wait for it ([reliability](reliability.md))."""
    redrive_tries: int = 6
    """Tries after the first one until an archive is `failed`. A try counts as soon as it begins."""
    window: timedelta = timedelta(hours=72)
    """Age of archives up to which `reconcile` checks them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """How much of an image is stored in table rows."""

    max_rows_per_image: int = 8
    """Most rows of 704 KiB for one image. A larger image is stored only in its shard, to which its row links."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedules:
    """NCRONTAB expressions of the two timers: seconds, minutes, hours, day, month, weekday; UTC."""

    poll: Schedule = "*/30 * * * * *"
    """When sources are polled: six NCRONTAB fields (seconds first, weekdays 0 to 6), UTC. The functions host reads both
    schedules itself; deployment and `make run` set them. Without them, `func start` reports that they do "not resolve
    to a value" and disables the function."""
    reconcile: Schedule = "0 */5 * * * *"
    """When `reconcile` finds and resumes unfinished work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source: how to reach it, and its settings for copying."""

    endpoint: Endpoint
    spec: SourceSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of the app."""

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
"""Names of the storage settings. The queue triggers read them too, so Azure Functions fixes their spelling."""

FLAT: Mapping[str, Setting] = {
    **{_STORAGE_NAMES[s.field.name]: s for s in _group("", Storage).values()},
    **_group("", Schedules, "_SCHEDULE"),
    **_group("PREPROCESS_", Recipe),
    **_group("LIMIT_", Limits),
    **_group("BATCH_", BatchSizes),
    **_group("TABLE_", Table),
    **_group("PIPELINE_", Pipeline),
}
"""Every setting that belongs to no source, by its name."""

_FROM_URL = {"scheme", "host", "port", "user", "folder", "name"}
PER_SOURCE: Mapping[str, Setting] = {
    name: setting
    for name, setting in {**_group("", Endpoint), **_group("", SourceSpec)}.items()
    if setting.field.name not in _FROM_URL
}
"""Every setting of a source except `URL`, by the last part of its name `SOURCES__<NAME>__<this>`."""

_OWN = re.compile(
    r"(DATA_STORAGE(__|$)|SOURCES__|PREPROCESS_|LIMIT_|BATCH_|TABLE_|PIPELINE_|(POLL|RECONCILE)_SCHEDULE$)"
)
_SOURCE_NAME = re.compile(r"(?!(MANUAL|SMOKE)$)[A-Z0-9_]{1,32}")
"""`manual` is the source of archives that a person uploads to storage, `smoke` the one of the smoke test."""
_NEARLY_SOURCES = re.compile(r"SOU?R[CS]ES?_(.*_)?_")
_OF_THE_PLATFORM = {"DATA_STORAGE__CREDENTIAL"}
_TWIN = re.compile(r"((CONNECTIONSTRINGS__)?AZUREWEBJOBS|CONNECTIONSTRINGS__)DATA_STORAGE(__|$)")
"""Settings that the functions host reads instead of DATA_STORAGE, even if they are empty."""


@cache
def settings() -> Settings:
    """Read the environment once and return its settings. The hook is not loaded: a broken one must not stop copying."""
    return _Reading(os.environ).settings(with_hook=False)


def environment() -> Mapping[str, str]:
    """Return the texts of all settings in the environment, by name. A new shell has none."""
    return {
        name: text
        for name, text in os.environ.items()
        if (_OWN.match(name.upper()) and text.strip()) or _TWIN.match(name.upper())
    }


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Return the settings. Raises SettingsError that names every problem, including one of the hook."""
    return _Reading(environ).settings()


def read_storage(environ: Mapping[str, str] = os.environ) -> Storage:
    """Return only the storage settings, which suffice to read results. Raises SettingsError."""
    return _Reading({name: text for name, text in environ.items() if name.upper().startswith("DATA_STORAGE")}).storage()


def read_pipeline(environ: Mapping[str, str] = os.environ) -> tuple[Recipe, Pipeline]:
    """Return only the settings that identify the pipeline; sources may be unset. Raises SettingsError."""
    return _Reading(environ).pipeline()


def read_limits(environ: Mapping[str, str] = os.environ) -> Limits:
    """Return only the limits of preprocessing. Raises SettingsError."""
    return Limits(**_Reading(environ).groups()[Limits])


def read_specs(environ: Mapping[str, str] = os.environ) -> Mapping[str, SourceSpec]:
    """Return each source's settings without its endpoint, because a program that only reads needs no password.

    Empty if no source is set. Raises SettingsError.
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
        """Build the recipe, and check its settings together unless one of them has a problem already."""
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
        """Report names with a misspelt prefix. Most names that `_OWN` does not match belong to other programs."""
        for key in self.others:
            if _NEARLY_SOURCES.match(key):
                self.problems.append(f"{key} is unknown: did you mean SOURCES__<NAME>__…?")
            elif difflib.get_close_matches(key, [name.upper() for name in FLAT], cutoff=0.9):
                self._unknown(key, [*FLAT])

    def _check_twins(self) -> None:
        for name in self.twins:
            self.problems.append(f"{name} must not be set: the queue triggers would read it instead of DATA_STORAGE")

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
            self.problems.append("no source is set: set SOURCES__<NAME>__URL, such as sftp://user@host:22/folder")
        sources = {_source_name(name): self._source(name, keys) for name, keys in grouped.items()}
        return {name: source for name, source in sources.items() if source is not None}

    def _by_source(self) -> dict[str, dict[str, str]]:
        """Return the names of each source's settings, by source and by the part after its name."""
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
            self.problems.append(f"{key} is not a URL: it must be like sftp://user@host:22/folder")
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
            self.problems.append(f"{prefix}URL has no user: it must be like sftp://user@host/folder")
        if "host_key" not in endpoint:
            self.problems.append(
                f"{prefix}HOST_KEY is missing: take a line that `{scan_command(host, port)}` prints, and compare its "
                "fingerprint with the one that the server's owner gives you"
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
    """Return the folder of a URL's path: `/~/outgoing` is relative to the folder after login."""
    home = path == "/~" or path.startswith("/~/")
    return unquote(path[3:].lstrip("/") if home else path) or "."


def _source_name(name: str) -> str:
    """Return the source of a name in settings: `south-radar` of `SOUTH_RADAR`, as Linux allows no hyphen there."""
    return name.lower().replace("_", "-")
