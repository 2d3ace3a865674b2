"""Responses of the status page's addresses. Requests within a few seconds share one load of the status."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from threading import Lock

from imagefeed.errors import ImageDamagedError, StoreUnavailableError
from imagefeed.layout import NAME, parse_stamp
from ingest.model import SourceSpec
from ops.health.load import load_status
from ops.health.load_archive import ImageKey, read_archive, read_image
from ops.health.promises import Held
from ops.web.assess import assess, window
from ops.web.model import Status
from ops.web.pages import SCRIPT, archive_page, message_page, status_page
from ops.web.responses import Request, Response, respond
from ops.web.to_json import to_json
from storage.blobs.raw import MANUAL
from storage.clients import Clients

SHARED_FOR = timedelta(seconds=5)
_ARCHIVE = re.compile(r"(\d{8}T\d{6}Z)\.([0-9a-f]{8})")
_IMAGE = re.compile(r"(\d{1,9})-(\d{1,9})\.png")


def load_current(clients: Clients, held: Held, names: Iterable[str], now: datetime) -> Status:
    """Return the current status from a bounded number of storage reads. No FTP or SFTP server is contacted."""
    since = [(name, now - window(held.promises.get(name))) for name in dict.fromkeys(names)]
    return assess(load_status(clients, since), held, now)


class StatusViews:
    """Views of the status page over one storage. Safe to share between threads."""

    def __init__(
        self,
        clients: Clients,
        specs: Mapping[str, SourceSpec],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._clients = clients
        self._specs = specs
        self._now = now
        self._lock = Lock()
        self._last: Status | StoreUnavailableError | None = None
        self._until = datetime.min.replace(tzinfo=UTC)
        """Requests made before this time share the last status."""

    def status(self) -> Status:
        """Return the status, loaded now or at most `SHARED_FOR` before the request. Raises StoreUnavailableError.

        Loading from a slow storage may take a minute, so requests that wait for a load share its result.
        """
        requested_at = self._now()
        with self._lock:
            if self._last is None or requested_at >= self._until:
                self._last = self._load()
                shared = timedelta(0) if isinstance(self._last, StoreUnavailableError) else SHARED_FOR
                self._until = self._now() + shared
            if isinstance(self._last, StoreUnavailableError):
                raise StoreUnavailableError(str(self._last)) from self._last
            return self._last

    def _load(self) -> Status | StoreUnavailableError:
        try:
            return load_current(self._clients, Held(promises=self._specs), (*self._specs, MANUAL), self._now())
        except StoreUnavailableError as exc:
            return exc

    def page(self, request: Request) -> Response:
        """Return the page with the status of all sources. Raises StoreUnavailableError."""
        return status_page(request, self.status())

    def json(self, request: Request) -> Response:
        """Return the status as JSON. Raises StoreUnavailableError."""
        return respond(request, "application/json", to_json(self.status()))

    def archive(self, request: Request, source: str, name: str) -> Response:
        """Return the page of one archive; 404 if the ledger has no row of it."""
        key = _archive_key(name)
        stored = None if key is None or not NAME.fullmatch(source) else read_archive(self._clients, source, *key)
        if stored is None:
            return message_page(request, 404, f"The ledger has no archive {name} of a source {source}.")
        spec = self._specs.get(source)
        return archive_page(request, stored, spec, self._now())

    def image(self, request: Request, key: ImageKey | None) -> Response:
        """Return an image as a small PNG; 404 if it does not exist, 410 if its stored bytes are damaged."""
        from ops.web.thumbnail import thumbnail

        try:
            stored = None if key is None else read_image(self._clients, key)
        except ImageDamagedError as exc:
            return message_page(request, 410, str(exc))
        if stored is None:
            return message_page(request, 404, "There is no such image, or it was deleted.")
        # An image's address determines its pixels, so it may be cached: only another library version changes the PNG.
        return respond(request, "image/png", thumbnail(stored.pixels), seconds=3_600)


def refresh_script(request: Request) -> Response:
    """Return the script that refreshes the page."""
    return respond(request, "text/javascript; charset=utf-8", SCRIPT.encode(), seconds=3_600)


def parse_image_key(source: str, archive: str, pipeline: str, image: str) -> ImageKey | None:
    """Return the key of the image that the parts of an address name; None if they name no image."""
    where, which = _archive_key(archive), _IMAGE.fullmatch(image)
    if where is None or which is None or not (NAME.fullmatch(source) and NAME.fullmatch(pipeline)):
        return None
    stamp, version = where
    return ImageKey(
        source=source,
        stamp=stamp,
        version=version,
        pipeline=pipeline,
        member=int(which[1]),
        frame=int(which[2]),
    )


def _archive_key(name: str) -> tuple[datetime, str] | None:
    match = _ARCHIVE.fullmatch(name)
    if match is None:
        return None
    try:
        return parse_stamp(match[1]), match[2]
    except ValueError:
        return None
