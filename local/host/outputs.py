"""Send queue outputs of functions as messages."""

import base64
import json
from collections.abc import Callable, Sequence

from azure.core.exceptions import AzureError
from azure.storage.queue.aio import QueueClient

from local.host.clients import send
from local.host.model import Binding, Function, Outcome
from local.host.protos import RpcException, TypedData


class QueueOutputs:
    """Queues of output bindings; missing queues are created."""

    def __init__(self, open_queue: Callable[[Binding], QueueClient], *, encoded: bool) -> None:
        self._open = open_queue
        self._encoded = encoded
        self._queues: dict[tuple[str, str], QueueClient] = {}

    def open(self, function: Function) -> None:
        """Open a function's queues, so that a missing connection is reported at start. Raises HostError."""
        for output in function.outputs:
            if output.type == "queue":
                self._queues[function.name, output.name] = self._open(output)

    async def send(self, function: Function, outcome: Outcome) -> RpcException | None:
        """Send a function's queue outputs. Return the error that makes the invocation fail, or None."""
        for name, data in outcome.outputs.items():
            queue = self._queues.get((function.name, name))
            if queue is not None:
                try:
                    await self._put(queue, message_bodies(data))
                except (AzureError, UnicodeDecodeError) as exc:
                    return RpcException(message=f"sending the output {name} to {queue.queue_name} failed: {exc}")
        return None

    async def _put(self, queue: QueueClient, bodies: Sequence[bytes]) -> None:
        for body in bodies:
            await send(queue, (base64.b64encode(body) if self._encoded else body).decode())


def message_bodies(data: TypedData) -> list[bytes]:
    """Return the message bodies of an output: one text or bytes, one object, or a list of texts and objects."""
    if data.json is None:
        return [data.string.encode() if data.string is not None else data.bytes or b""]
    content = json.loads(data.json)
    return [_text(item).encode() for item in (content if isinstance(content, list) else [content])]


def _text(item: object) -> str:
    if isinstance(item, str):
        return item
    if isinstance(item, dict) and set(item) == {"id", "body"}:
        return str(item["body"])  # a func.QueueMessage
    return json.dumps(item)
