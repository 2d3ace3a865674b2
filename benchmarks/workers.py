"""Run workers in parallel that empty the queue of batches: processes with one core each."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from time import perf_counter
from uuid import uuid4

from benchmarks import app
from benchmarks.bench import spent, timing
from benchmarks.child import Candidate, Child, Sample
from benchmarks.model import BenchmarkError, Timing
from local.azurite import Azurite
from preprocess.context import Context
from preprocess.handlers import handle_archive_created
from preprocess.model import BatchSizes
from storage.clients import Clients, connected

_QUEUED = BatchSizes(inline_bytes=0)
"""Sizes with which all batches go to the queue."""


@contextmanager
def on_one_core(number: int = 0) -> Iterator[None]:
    """Keep this thread, and threads that it starts, on one core, like an instance of the usual size."""
    usual = os.sched_getaffinity(0)
    cores = sorted(usual)
    os.sched_setaffinity(0, {cores[number % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


def measure(clients: Clients, azurite: Azurite, numbers: Sequence[int], rounds: int) -> Mapping[int, Timing]:
    """Measure, for each number of workers in turn, how they preprocess all raw archives anew."""
    blobs = list(clients.raw.list_blob_names())
    with ExitStack() as stack:
        candidates = [Candidate(_worker_candidate, (azurite.connection, number)) for number in range(max(numbers))]
        children = [stack.enter_context(Child(f"worker {number}", each)) for number, each in enumerate(candidates)]
        threads = stack.enter_context(ThreadPoolExecutor(len(children)))
        # Warm up: each worker preprocesses an archive first.
        for child in children:
            queue_all(clients, blobs[:1])
            child.run()
        run = partial(_measure_once, clients, threads, blobs)
        done = [[run(children[:number], azurite.pid) for number in numbers] for _ in range(rounds)]
    return {number: timing(each) for number, each in zip(numbers, zip(*done, strict=True), strict=True)}


def queue_all(clients: Clients, blobs: Iterable[str]) -> Context:
    """Plan archives under a new pipeline, so that everything is processed again. Return its context."""
    ctx = app.preprocessing(clients, f"p-{uuid4().hex[:8]}", sizes=_QUEUED)
    for blob in blobs:
        handle_archive_created(blob, ctx)
    return ctx


def _measure_once(
    clients: Clients, threads: ThreadPoolExecutor, blobs: Sequence[str], children: Sequence[Child], server: int
) -> tuple[Sample, float]:
    """Run workers in parallel until the queue is empty. Return their sample and the server's processor time."""
    queue_all(clients, blobs)
    began, before = perf_counter(), spent([server])
    samples = list(threads.map(Child.run, children))
    seconds, serving = perf_counter() - began, spent([server]) - before
    done = sum(int(str(sample.outcome)) for sample in samples)
    if done < len(blobs):
        raise BenchmarkError(f"preprocess {len(blobs)} archives: {done} batches were done")
    return Sample(seconds, sum(each.cpu for each in samples), max(each.peak for each in samples), done), serving


@contextmanager
def _worker_candidate(connection: str, number: int) -> Iterator[Callable[[], int]]:
    with on_one_core(number), connected(connection) as clients:
        ctx = app.preprocessing(clients, "any")
        yield lambda: app.drain(clients, ctx)
