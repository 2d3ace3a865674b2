"""HTTP without a framework: what was asked, and answers with the headers that keep a browser in its bounds."""

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
    """A request."""

    method: str = "GET"
    root: str = ""
    """The way from its address up to where all addresses begin, such as `../../`."""
    code: str | None = field(default=None, repr=False)
    """The function key, where it came in the address: links carry it on. One in a header stays there."""
    if_none_match: str = ""
    gzip: bool = False

    def linker(self) -> Callable[[str], str]:
        """Give what makes relative addresses of other pages, which keep working with the key that opened this one."""
        root, key = self.root, f"?code={quote(self.code, safe='')}" if self.code else ""
        return lambda path: f"{root}{path}{key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


def way_up(url: str, below: int) -> str:
    """Give the way from an address up to where all of ours begin; it has `below` parts after its first.

    Relative, so that neither a route prefix nor a proxy before the app matters. A slash at the end is one part more.
    """
    return "../" * (below + urlsplit(url).path.endswith("/"))


def respond(
    request: Request, kind: str, body: bytes, *, status: int = 200, seconds: int = 5, policy: str = ""
) -> Response:
    """Make an answer that may be kept for some seconds, by nobody but the one who asked."""
    # Weak, since the same page may come packed or not.
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {
        "Content-Type": kind,
        "Cache-Control": f"private, max-age={seconds}" if status == 200 else "no-store",
        "Content-Security-Policy": f"default-src 'none'; {policy}base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        # The address may hold the key.
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
    """Answer, or `say` with which status it could not be done, and why: an empty page would help nobody."""
    try:
        return make()
    except TransientError as exc:
        log.warning("status.unavailable error=%r", str(exc))
        return say(503, str(exc))
    except PermanentError as exc:
        log.exception("status.failed")
        return say(500, str(exc))


def source_hash(content: str) -> str:
    """Name an inline style in a Content-Security-Policy."""
    return f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _matches(accepted: str, etag: str) -> bool:
    return accepted.strip() == "*" or etag.removeprefix("W/") in {
        tag.strip().removeprefix("W/") for tag in accepted.split(",")
    }
