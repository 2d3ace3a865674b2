"""A worker process, which loads one app with Microsoft's worker library and invokes its functions.

Run as `python -m local.host.worker FD`, with the host at the other end of the socket FD. The library keeps the app in
module globals: one app per process.
"""

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import azure_functions_runtime as library

from local.host import console
from local.host.app import HostError
from local.host.channel import Channel
from local.host.model import Binding, Finished, Function, Invocation, Load, Loaded, Outcome
from local.host.protos import PROTOS, ParameterBinding, RpcException

log = logging.getLogger(__name__)


class Worker:
    """The one app of this process."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        """The library's ID of each function."""

    async def load(self, folder: Path) -> list[Function]:
        """Load the app in `folder`, last on `sys.path`, and return its functions. Raises HostError."""
        os.chdir(folder)
        _put_behind_packages(str(folder))
        library.start_threadpool_executor()
        init = SimpleNamespace(capabilities={}, function_app_directory=str(folder))
        answer = await library.worker_init_request(_request(worker_init_request=init))
        if answer.result.exception is not None:
            raise HostError(f"the app cannot be loaded: {_describe(answer.result.exception)}")
        if "HttpUri" in answer.capabilities:
            raise HostError("the app streams HTTP (azurefunctions-extensions-http-fastapi): run it with `func start`")
        metadata = await library.functions_metadata_request(_request())
        if metadata.result.exception is not None:
            raise HostError(f"the app cannot be loaded: {_describe(metadata.result.exception)}")
        metadata = metadata.function_metadata_results or ()
        self._ids = {function.name: function.function_id for function in metadata}
        return [_function(function) for function in metadata]

    async def invoke(self, invocation: Invocation) -> Outcome:
        """Run one function, in the library's thread pool unless it is `async`, and return its outcome."""
        request = SimpleNamespace(
            invocation_id=invocation.id,
            # None if a replacement worker failed to load the app; the library then returns an error.
            function_id=self._ids.get(invocation.function),
            input_data=[ParameterBinding(name=invocation.argument, data=invocation.trigger)],
            trigger_metadata=invocation.metadata,
            trace_context=SimpleNamespace(trace_parent=invocation.trace_parent, trace_state="", attributes={}),
            retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
        )
        answer = await library.invocation_request(_request(invocation_request=request))
        if answer.result.exception is not None:
            return Outcome(error=answer.result.exception)
        outputs = {output.name: output.data for output in answer.output_data}
        if answer.return_value is not None:
            outputs["$return"] = answer.return_value
        return Outcome(outputs=outputs)

    def close(self) -> None:
        """Wait for the threads of the pool to end."""
        library.stop_threadpool_executor()


async def serve(channel: Channel) -> None:
    """Answer requests until the host closes the connection."""
    worker = Worker()
    running: set[asyncio.Task[None]] = set()
    while True:
        try:
            message = await channel.receive()
        except EOFError:
            return
        if isinstance(message, Load):
            channel.send(await _load(worker, message.folder))
        else:
            task = asyncio.create_task(_answer(worker, channel, message))
            running.add(task)
            task.add_done_callback(running.discard)


async def _load(worker: Worker, folder: Path) -> Loaded:
    try:
        return Loaded(functions=tuple(await worker.load(folder)))
    except HostError as exc:
        return Loaded(error=str(exc))


async def _answer(worker: Worker, channel: Channel, invocation: Invocation) -> None:
    try:
        outcome = await worker.invoke(invocation)
    except SystemExit as exc:
        # The library catches only Exception, so the process ends in Azure too.
        log.error("function %s called for exit with %r", invocation.function, exc.code)  # noqa: TRY400
        leave(1)
    else:
        channel.send(Finished(id=invocation.id, outcome=outcome))


def leave(code: int) -> NoReturn:
    """End the process at once, because a normal exit would wait for running threads."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def _put_behind_packages(folder: str) -> None:
    """Order `sys.path` like the real worker: packages first, the app last.

    This host's own folder does not exist in Azure. It comes after the app, so that it never hides the app's modules.
    """
    own = str(Path(__file__).parents[2])
    sys.path[:] = [*(entry for entry in sys.path if entry not in (folder, own)), folder, own]


def _request(**attributes: Any) -> Any:
    return SimpleNamespace(request=SimpleNamespace(**attributes), properties={"protos": PROTOS, "host": "127.0.0.1"})


def _describe(exception: RpcException) -> str:
    # The library appends sys.path to an ImportError's message; the traceback is easier to read.
    return exception.stack_trace.strip() or exception.message


def _function(metadata: Any) -> Function:
    bindings = [json.loads(text) for text in metadata.raw_bindings]
    triggers = [binding for binding in bindings if binding["type"].lower().endswith("trigger")]
    if len(triggers) != 1:
        raise HostError(f"function {metadata.name} has {len(triggers)} triggers; it must have one")
    others = [binding for binding in bindings if binding is not triggers[0]]
    return Function(
        name=metadata.name,
        trigger=_binding(triggers[0]),
        outputs=tuple(_binding(other) for other in others if other["direction"] == "OUT"),
        others=tuple(_binding(other) for other in others if other["direction"] != "OUT"),
    )


def _binding(raw: Mapping[str, Any]) -> Binding:
    return Binding(type=raw["type"], name=raw["name"], options=raw)


async def _main(descriptor: int) -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
    await serve(Channel(reader, writer))


if __name__ == "__main__":
    console.configure()
    try:
        asyncio.run(_main(int(sys.argv[1])))
    except SystemExit as exc:
        # An app that calls sys.exit() while it is loaded ends its worker.
        log.error("loading the app called for exit with %r", exc.code)  # noqa: TRY400
    except BaseException:
        log.exception("The worker failed")
    finally:
        # Functions may still run in threads, but their results can no longer be sent.
        leave(1)
