"""Serve the local endpoints of `func start`: the admin API, the Event Grid webhook and the HTTP triggers."""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from local.host.app import App
from local.host.http_trigger import BY_CALL, Routes
from local.host.invocations import Invocations
from local.host.model import Function
from local.host.protos import TypedData
from local.host.timers import timer_info

MAX_BODY = 100 * 2**20
_HERE = ("127.0.0.1", "localhost", "::1")


class Endpoints:
    """HTTP endpoints of the host."""

    def __init__(self, app: App, functions: list[Function], invocations: Invocations) -> None:
        self._app = app
        self._functions = {function.name.lower(): function for function in functions}
        self._names = {function.name for function in functions}
        self._invocations = invocations

    def application(self) -> web.Application:
        """Return the web application with all routes. Raises HostError for an unsupported route."""
        application = web.Application(client_max_size=MAX_BODY, middlewares=[_for_this_machine])
        if self._app.problem:
            application.router.add_route("*", "/{path:.*}", _unavailable)
            return application
        application.router.add_get("/", _ping)
        application.router.add_get("/admin/host/ping", _ping)
        application.router.add_get("/admin/host/status", self._host_status)
        application.router.add_get("/admin/functions", self._list)
        application.router.add_get("/admin/functions/{name}", self._describe)
        application.router.add_get("/admin/functions/{name}/status", self._status)
        application.router.add_post("/admin/functions/{name}", self._start)
        application.router.add_post("/runtime/webhooks/{extension:(?i:eventgrid)}", self._event_grid)
        application.router.add_options("/runtime/webhooks/{extension:(?i:eventgrid)}", _greet_cloud_events)
        http = [function for function in self._functions.values() if function.trigger.type == "httpTrigger"]
        routes = Routes(self._app.route_prefix, [function for function in http if function.runs], self._invocations)
        application.router.add_route("*", "/{path:.*}", routes.answer)
        return application

    async def _host_status(self, _request: web.Request) -> web.Response:
        return web.json_response({"id": self._app.folder.name, "state": "Running", "version": "4.0.0.0"})

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response([_description(function, request) for function in self._functions.values()])

    async def _describe(self, request: web.Request) -> web.Response:
        return web.json_response(_description(self._function(request.match_info["name"]), request))

    async def _status(self, request: web.Request) -> web.Response:
        function = self._function(request.match_info["name"])
        # The real host joins an exception and its cause, each with its source; without errors it omits `errors`.
        said = (f"Error indexing method 'Functions.{function.name}'", function.problem)
        error = " ".join(f"Microsoft.Azure.WebJobs.Host: {each}." for each in said)
        return web.json_response({"errors": [error]} if function.problem else {})

    async def _start(self, request: web.Request) -> web.Response:
        function = self._function(request.match_info["name"])
        if function.problem:
            raise web.HTTPNotFound(text=function.problem)
        body = await _json(request)
        if not isinstance(body, dict):
            raise web.HTTPBadRequest(text='the body must be like {"input": "text"}')
        self._invocations.start(function, _admin_input(function, body.get("input")), BY_CALL)
        return web.Response(status=202)

    async def _event_grid(self, request: web.Request) -> web.Response:
        name = request.query.get("functionName", "")
        # This name is case-sensitive, unlike at the admin endpoints (measured).
        function = self._function(name if name in self._names else "", trigger="eventGridTrigger")
        kind = request.headers.get("aeg-event-type", "")
        if kind == "SubscriptionValidation":
            return web.json_response({"validationResponse": _validation_code(_events(await request.read()))})
        if kind == "Notification":
            return await self._notify(function, _events(await request.read()))
        if kind == "Unsubscribe":
            return web.Response(status=202)
        raise web.HTTPBadRequest(text=f"the header aeg-event-type must be Notification, not {kind!r}")

    async def _notify(self, function: Function, events: list[dict[str, Any]]) -> web.Response:
        """Run the function concurrently for all events. Return 202 if all succeed, else 500."""
        outcomes = await asyncio.gather(*(
            self._invocations.run(function, event_input(json.dumps(event)), "EventGrid trigger fired",
                                  {"data": TypedData(json=json.dumps(event.get("data")))})
            for event in events
        ))  # fmt: skip
        if any(outcome.error is not None for outcome in outcomes):
            return web.Response(status=500, text=f"Exception while executing function: Functions.{function.name}")
        return web.Response(status=202)

    def _function(self, name: str, trigger: str | None = None) -> Function:
        function = self._functions.get(name.lower())
        # A disabled trigger receives nothing, but the function can still be called by its name.
        if function is None or (trigger is not None and (trigger != function.trigger.type or not function.runs)):
            raise web.HTTPNotFound(text=f"no function {name!r}" + (f" with {trigger}" if trigger else ""))
        return function


@web.middleware
async def _for_this_machine(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests that web pages from other sites cause a browser to send.

    Such a page could resolve its own host name to this machine (DNS rebinding) to read responses, or post to the admin
    and webhook endpoints, which no page needs.
    """
    host = urlsplit(f"//{request.host}").hostname
    if host not in _HERE:
        raise web.HTTPForbidden(text=f"this host answers this machine alone: call it as 127.0.0.1, not as {host!r}")
    if "Origin" in request.headers and request.path.startswith(("/admin/", "/runtime/")):
        raise web.HTTPForbidden(text="this address is for programs: no page of a browser may call it")
    return await handler(request)


def event_input(event: str) -> TypedData:
    """Return the input of an Event Grid function for an event's JSON text."""
    return TypedData(json=event)


async def _json(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError) as exc:
        raise web.HTTPBadRequest(text=f"the body is not valid JSON: {exc}") from exc


def _admin_input(function: Function, text: Any) -> TypedData:
    kind = function.trigger.type
    if kind == "timerTrigger":
        return timer_info()
    if kind == "httpTrigger":
        raise web.HTTPBadRequest(text=f"{function.name} has an HTTP trigger: call its own address")
    if not isinstance(text, str):
        raise web.HTTPBadRequest(text='"input" must be a text; an event goes in as its JSON in quotes')
    return event_input(text) if kind == "eventGridTrigger" else TypedData(string=text)


def _events(body: bytes) -> list[dict[str, Any]]:
    """Return the events of a delivery. Invalid content is answered with 500, as by the real host (measured)."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise web.HTTPInternalServerError(text=f"the body is not valid JSON: {exc}") from exc
    events = content if isinstance(content, list) else [content]
    if not all(isinstance(event, dict) for event in events):
        raise web.HTTPInternalServerError(text="events must be JSON objects")
    return events


def _validation_code(events: list[dict[str, Any]]) -> str:
    try:
        return str(events[0]["data"]["validationCode"])
    except (LookupError, TypeError) as exc:
        raise web.HTTPInternalServerError(text="the event holds no data.validationCode") from exc


async def _ping(_request: web.Request) -> web.Response:
    return web.Response(text="Your Azure Function App is up and running.")


async def _unavailable(_request: web.Request) -> web.Response:
    return web.Response(status=503, text="Function host is not running.")


async def _greet_cloud_events(request: web.Request) -> web.Response:
    """Answer the handshake of CloudEvents webhooks."""
    return web.Response(headers={"WebHook-Allowed-Origin": request.headers.get("WebHook-Request-Origin", "*")})


def _description(function: Function, request: web.Request) -> dict[str, Any]:
    bindings = [binding.options for binding in (function.trigger, *function.outputs)]
    return {
        "name": function.name,
        "language": "python",
        "isDisabled": function.disabled,
        "href": str(request.url.origin() / "admin/functions" / function.name),
        "config": {"name": function.name, "bindings": bindings},
    }
