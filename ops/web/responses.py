"""HTTP requests and responses without a framework; responses carry the browser's security headers."""

import gzip
import hashlib
import logging
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

from imagefeed.errors import PermanentError, TransientError

log = logging.getLogger(f"ingestion.{__name__}")

_WORTH_PACKING = 1_000
_GZIP_LEVEL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The parts of an HTTP request that the status page uses."""

    method: str = "GET"
    root: str = ""
    """Relative path from the requested address up to the root of our addresses, such as `../../`."""
    code: str | None = field(default=None, repr=False)
    """The function key if the address held it, so that links can hold it too; None if it came in a header."""
    if_none_match: str = ""
    gzip: bool = False

    def linker(self) -> Callable[[str], str]:
        """Return a function from a path to a relative link, which holds the function key if this address held it."""
        root, key = self.root, f"?code={quote(self.code, safe='')}" if self.code else ""
        return lambda path: f"{root}{path}{key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


def way_up(url: str, below: int) -> str:
    """Return the relative path from an address up to the root of our addresses.

    `below` is the number of parts of its path after the first; a slash at the end counts as one more. The path is
    relative, so that it works behind any route prefix or proxy.
    """
    return "../" * (below + urlsplit(url).path.endswith("/"))


def respond(
    request: Request, kind: str, body: bytes, *, status: int = 200, seconds: int = 5, policy: str = ""
) -> Response:
    """Return a response that only the browser may cache, for `seconds`; 304 without a body if its ETag matches."""
    # Weak, because the same page may be sent with or without gzip.
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {
        "Content-Type": kind,
        "Cache-Control": f"private, max-age={seconds}" if status == 200 else "no-store",
        "Content-Security-Policy": f"default-src 'none'; {policy}base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        # The address may hold the function key.
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Vary": "Accept-Encoding",
    }
    if status == 200:
        headers["ETag"] = etag
        if _matches(request.if_none_match, etag):
            return Response(status=304, headers={name: headers[name] for name in headers if name != "Content-Type"})
    if request.gzip and len(body) > _WORTH_PACKING and not kind.startswith("image/"):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
    return Response(status=status, headers=headers, body=b"" if request.method == "HEAD" else body)


def guarded(make: Callable[[], Response], say: Callable[[int, str], Response]) -> Response:
    """Return the response of `make`; if it raises, the response of `say` for an HTTP status and the reason."""
    try:
        return make()
    except TransientError as exc:
        log.warning("status.unavailable error=%r", str(exc))
        return say(503, str(exc))
    except PermanentError as exc:
        log.exception("status.failed")
        return say(500, str(exc))


def source_hash(content: str) -> str:
    """Return the Content-Security-Policy source that allows an inline style with this content."""
    return f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _matches(accepted: str, etag: str) -> bool:
    return accepted.strip() == "*" or etag.removeprefix("W/") in {
        tag.strip().removeprefix("W/") for tag in accepted.split(",")
    }
