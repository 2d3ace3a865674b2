"""The app's whole preprocessing for benchmarks, connected like in function_app.py, and the processing of its queue."""

import base64
from dataclasses import replace

from preprocess.context import Context
from preprocess.handlers import handle_batch_message
from preprocess.model import BatchSizes, Limits, Recipe
from storage.blobs.raw import RawBlobs
from storage.clients import Clients
from storage.queues.messages import BatchMessages, parse_batch_message
from storage.results import ShardsAndRows
from storage.tables.batches import TableBatchLedger

_USUAL_RECIPE, _USUAL_SIZES = Recipe(), BatchSizes()
_LOCKED = 600
"""Seconds for which a received message is hidden from others."""


def preprocessing(
    clients: Clients, pipeline: str, recipe: Recipe = _USUAL_RECIPE, sizes: BatchSizes = _USUAL_SIZES
) -> Context:
    """Return the app's preprocessing with default settings."""
    return Context(
        raw=RawBlobs(clients, lambda _source, _path: None),
        results=ShardsAndRows(clients, recipe.codec, 8),
        ledger=TableBatchLedger(clients),
        queue=BatchMessages(clients),
        recipe=recipe,
        hook=None,
        pipeline=pipeline,
        limits=Limits(),
        sizes=sizes,
    )


def drain(clients: Clients, p: Context) -> int:
    """Process all messages of the queue one by one, like the functions host. Return their number."""
    done = 0
    while message := clients.batch_queue.receive_message(visibility_timeout=_LOCKED):
        asked = parse_batch_message(base64.b64decode(message.content))
        handle_batch_message(asked, replace(p, pipeline=asked.pipeline or p.pipeline))
        clients.batch_queue.delete_message(message)
        done += 1
    return done
