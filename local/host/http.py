"""The local endpoints of `func start`: admin and the Event Grid webhook, with the HTTP triggers beside them."""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from local.host.app import App
from local.host.http_trigger import BY_CALL, add_route
from local.host.invocations import Invocations
from local.host.protos import TypedData
from local.host.timers import timer_info
from local.host.worker import Function

MAX_BODY = 100 * 2**20
_HERE = ("127.0.0.1", "localhost", "::1")


class Endpoints:
    """What the host answers over HTTP."""

    def __init__(self, app: App, functions: list[Function], invocations: Invocations) -> None:
        self._app = app
        self._functions = {function.name.lower(): function for function in functions}
        self._invocations = invocations

    def application(self) -> web.Application:
        """Route everything. Raises HostError for a route that cannot be served."""
        application = web.Application(client_max_size=MAX_BODY, middlewares=[_for_this_machine])
        application.router.add_get("/admin/host/status", self._host_status)
        application.router.add_get("/admin/functions", self._list)
        application.router.add_get("/admin/functions/{name}", self._describe)
        application.router.add_get("/admin/functions/{name}/status", self._status)
        application.router.add_post("/admin/functions/{name}", self._start)
        application.router.add_post("/runtime/webhooks/{extension:(?i:eventgrid)}", self._event_grid)
        for function in self._functions.values():
            if function.trigger.type == "httpTrigger" and not function.disabled:
                add_route(application, self._app.route_prefix, function, self._invocations)
        return application

    async def _host_status(self, _request: web.Request) -> web.Response:
        return web.json_response({"id": self._app.folder.name, "state": "Running", "version": "4.0.0.0"})

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response([_description(function, request) for function in self._functions.values()])

    async def _describe(self, request: web.Request) -> web.Response:
        return web.json_response(_description(self._found(request.match_info["name"]), request))

    async def _status(self, request: web.Request) -> web.Response:
        self._found(request.match_info["name"])
        return web.json_response({})

    async def _start(self, request: web.Request) -> web.Response:
        function = self._found(request.match_info["name"])
        body = await _json(request)
        if not isinstance(body, dict):
            raise web.HTTPBadRequest(text='the body must be like {"input": "text"}')
        self._invocations.start(function, _admin_input(function, body.get("input")), BY_CALL)
        return web.Response(status=202)

    async def _event_grid(self, request: web.Request) -> web.Response:
        function = self._found(request.query.get("functionName", ""), trigger="eventGridTrigger")
        kind = request.headers.get("aeg-event-type", "")
        body = await _json(request) if kind in ("SubscriptionValidation", "Notification") else None
        events = body if isinstance(body, list) else [body]
        if kind == "SubscriptionValidation":
            return web.json_response({"validationResponse": _validation_code(events)})
        if kind == "Notification":
            return await self._notify(function, events)
        if kind == "Unsubscribe":
            return web.Response(status=202)
        raise web.HTTPBadRequest(text=f"the header aeg-event-type must be Notification, not {kind!r}")

    async def _notify(self, function: Function, events: list[Any]) -> web.Response:
        """Run the function once for each event, at the same time; all must succeed."""
        if not all(isinstance(event, dict) for event in events):
            raise web.HTTPBadRequest(text="events must be JSON objects")
        outcomes = await asyncio.gather(*(
            self._invocations.run(function, event_input(json.dumps(event)), "EventGrid trigger fired",
                                  {"data": TypedData(json=json.dumps(event.get("data")))})
            for event in events
        ))  # fmt: skip
        errors = [outcome.error.message for outcome in outcomes if outcome.error is not None]
        return web.Response(status=500, text=errors[0]) if errors else web.Response(status=202)

    def _found(self, name: str, trigger: str | None = None) -> Function:
        function = self._functions.get(name.lower())
        # A trigger that is switched off listens to nothing; by its name the function can still be called.
        if function is None or (trigger is not None and (trigger != function.trigger.type or function.disabled)):
            raise web.HTTPNotFound(text=f"no function {name!r}" + (f" with {trigger}" if trigger else ""))
        return function


@web.middleware
async def _for_this_machine(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a browser brings from elsewhere.

    A page of a stranger's may have its own name point at this machine, to read what is shown here, or post to
    addresses that no page has any business with.
    """
    host = urlsplit(f"//{request.host}").hostname
    if host not in _HERE:
        raise web.HTTPForbidden(text=f"this host answers this machine alone: call it as 127.0.0.1, not as {host!r}")
    if "Origin" in request.headers and request.path.startswith(("/admin/", "/runtime/")):
        raise web.HTTPForbidden(text="this address is for programs: no page of a browser may call it")
    return await handler(request)


def event_input(event: str) -> TypedData:
    """Make what an Event Grid function is given of an event's JSON text."""
    return TypedData(json=event)


async def _json(request: web.Request) -> Any:
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError) as exc:
        raise web.HTTPBadRequest(text=f"the body is no JSON: {exc}") from exc


def _admin_input(function: Function, text: Any) -> TypedData:
    kind = function.trigger.type
    if kind == "timerTrigger":
        return timer_info()
    if kind == "httpTrigger":
        raise web.HTTPBadRequest(text=f"{function.name} has an HTTP trigger: call its own address")
    if not isinstance(text, str):
        raise web.HTTPBadRequest(text='"input" must be a text; an event goes in as its JSON in quotes')
    return event_input(text) if kind == "eventGridTrigger" else TypedData(string=text)


def _validation_code(events: list[Any]) -> str:
    try:
        return str(events[0]["data"]["validationCode"])
    except (LookupError, TypeError) as exc:
        raise web.HTTPBadRequest(text="the event holds no data.validationCode") from exc


def _description(function: Function, request: web.Request) -> dict[str, Any]:
    bindings = [binding.options for binding in (function.trigger, *function.outputs)]
    return {
        "name": function.name,
        "language": "python",
        "isDisabled": function.disabled,
        "href": str(request.url.origin() / "admin/functions" / function.name),
        "config": {"name": function.name, "bindings": bindings},
    }
