"""HTTP triggers: routes, requests and responses."""

import re
from collections.abc import Mapping

from aiohttp import web

from local.host.app import HostError
from local.host.invocations import Invocations
from local.host.protos import RpcHttp, RpcHttpCookie, TypedData
from local.host.worker import Function, Outcome

BY_CALL = "This function was programmatically called via the host APIs."
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_PARAMETER = re.compile(r"\{(\*{0,2})(\w+)(?::(\w+))?(\?)?\}")
_OPTIONAL_END = re.compile(r"/\{\w+(?::\w+)?\?\}$")
_CONSTRAINTS = {None: r"[^/]+", "int": r"-?\d+", "long": r"-?\d+", "alpha": r"[A-Za-z]+", "guid": r"[0-9a-fA-F-]{36}"}


def add_route(application: web.Application, prefix: str, function: Function, invocations: Invocations) -> None:
    """Answer a function's route with the function. Raises HostError for a route that cannot be served."""

    async def answer(request: web.Request) -> web.Response:
        call, metadata = await _call(request)
        return _response(function, await invocations.run(function, TypedData(http=call), BY_CALL, metadata))

    options = function.trigger.options
    for path in aiohttp_paths(prefix, options.get("route") or function.name):
        for method in options.get("methods") or _METHODS:
            application.router.add_route(method, path, answer)


def aiohttp_paths(prefix: str, route: str) -> list[str]:
    """Write a route of ASP.NET as aiohttp's paths; an optional last parameter makes two. Raises HostError."""
    path = "/" + "/".join(part for part in (prefix, route.strip("/")) if part)

    def written(match: re.Match[str]) -> str:
        rest, name, constraint, _ = match.groups()
        if constraint not in _CONSTRAINTS:
            raise HostError(f"the route {route!r} has the constraint {constraint}, which this host does not know")
        return f"{{{name}:{'.*' if rest else _CONSTRAINTS[constraint]}}}"

    paths = [_PARAMETER.sub(written, path)]
    optional = _OPTIONAL_END.search(path)
    return [*paths, _PARAMETER.sub(written, path[: optional.start()]) or "/"] if optional else paths


async def _call(request: web.Request) -> tuple[RpcHttp, dict[str, TypedData]]:
    body = await request.read()
    params = {name: value for name, value in request.match_info.items() if value}
    query = dict(request.query)
    call = RpcHttp(
        method=request.method,
        url=str(request.url),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=TypedData(bytes=body) if body else TypedData(),
        params=params,
        query=query,
    )
    return call, {name: TypedData(string=value) for name, value in {**query, **params}.items()}


def _response(function: Function, outcome: Outcome) -> web.Response:
    if outcome.error is not None:
        return web.Response(status=500)  # as in Azure, which tells callers nothing of errors
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
