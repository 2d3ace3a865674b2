"""HTTP triggers: match routes, and convert requests and responses."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from aiohttp import web

from local.host.app import HostError
from local.host.invocations import Invocations
from local.host.model import Function, Outcome
from local.host.protos import RpcHttp, RpcHttpCookie, TypedData

BY_CALL = "This function was programmatically called via the host APIs."
_PARAMETER = re.compile(r"\{(\*{0,2})(\w+)(?::(\w+))?(\?)?\}")
_CONSTRAINTS = {None: r"[^/]+", "int": r"-?\d+", "long": r"-?\d+", "alpha": r"[A-Za-z]+", "guid": r"[0-9a-fA-F-]{36}"}


class Routes:
    """Routes of all HTTP functions. Paths ignore case and a trailing slash, as in ASP.NET."""

    def __init__(self, prefix: str, functions: Sequence[Function], invocations: Invocations) -> None:
        self._invocations = invocations
        routes = [(function, function_pattern(prefix, function)) for function in functions]
        # A route with fewer parameters is tried first, because literal parts win over parameters.
        self._routes = sorted(routes, key=lambda route: route[1].groups)

    async def answer(self, request: web.Request) -> web.Response:
        """Call the function that matches a request's path and method. Return its response. Raises 404 if none does."""
        path = request.rel_url.raw_path
        if "%00" in path:
            raise web.HTTPBadRequest(text="")
        for function, pattern in self._routes:
            match = pattern.fullmatch(path)
            if match and _takes(function, request.method):
                params = {name: _decoded(value) for name, value in match.groupdict().items() if value}
                call, metadata = await _call(request, params)
                outcome = await self._invocations.run(function, TypedData(http=call), BY_CALL, metadata)
                return _response(function, outcome)
        raise web.HTTPNotFound(text="")


def function_pattern(prefix: str, function: Function) -> re.Pattern[str]:
    """Return a regular expression for the raw paths of an HTTP function. Raises HostError."""
    return route_pattern(prefix, function.trigger.options.get("route") or function.name)


def route_pattern(prefix: str, route: str) -> re.Pattern[str]:
    """Return a regular expression for the raw paths of an ASP.NET route. Raises HostError for unknown constraints."""
    path = "/" + "/".join(part for part in (prefix, route.strip("/")) if part)
    written, end = "", 0
    for match in _PARAMETER.finditer(path):
        rest, name, constraint, optional = match.groups()
        if constraint not in _CONSTRAINTS:
            raise HostError(f"the route {route!r} has the constraint {constraint}, which this host does not support")
        before = re.escape(path[end : match.start()])
        group = f"(?P<{name}>{'.*' if rest else _CONSTRAINTS[constraint]})"
        # The slash before an optional parameter is optional too.
        written += f"{before.removesuffix('/')}(?:/{group})?" if optional else before + group
        end = match.end()
    return re.compile(f"{written}{re.escape(path[end:])}/?", re.IGNORECASE)


def _takes(function: Function, method: str) -> bool:
    methods = function.trigger.options.get("methods")
    return not methods or method in (str(each).upper() for each in methods)


def _decoded(value: str) -> str:
    """Decode a part of a path, except encoded slashes."""
    return "%2F".join(unquote(part) for part in re.split("%2F", value, flags=re.IGNORECASE))


async def _call(request: web.Request, params: Mapping[str, str]) -> tuple[RpcHttp, dict[str, TypedData]]:
    body = await request.read()
    # The real host joins several values of one name with commas.
    query = {name: ",".join(request.query.getall(name)) for name in request.query}
    call = RpcHttp(
        method=request.method,
        url=str(request.url),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=TypedData(bytes=body) if body else TypedData(),
        params=dict(params),
        query=query,
    )
    return call, {name: TypedData(string=value) for name, value in {**query, **params}.items()}


def _response(function: Function, outcome: Outcome) -> web.Response:
    if outcome.error is not None:
        return web.Response(status=500)  # no details, as in Azure
    names = [binding.name for binding in function.outputs if binding.type == "http"]
    data = outcome.outputs.get(names[0]) if names else None
    if data is None:
        return web.Response(status=204)
    if data.http is None:
        return web.Response(text=data.string if data.string is not None else data.json)
    body = data.http.body.bytes if data.http.body else None
    response = web.Response(status=int(data.http.status_code), headers=_headers(data.http.headers), body=body)
    for cookie in data.http.cookies or ():
        _set_cookie(response, cookie)
    return response


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() != "content-length"}


def _set_cookie(response: web.Response, cookie: RpcHttpCookie) -> None:
    response.set_cookie(
        cookie.name,
        cookie.value,
        domain=cookie.domain.value if cookie.domain else None,
        path=cookie.path.value if cookie.path and cookie.path.value else "/",
        secure=cookie.secure.value if cookie.secure else None,
        httponly=cookie.http_only.value if cookie.http_only else None,
    )
