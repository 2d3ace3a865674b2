"""Reading ahead keeps the order, its bound and the errors, and never outlives its reader."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from imagefeed.prefetch import read_ahead


def test_items_come_in_their_order() -> None:
    assert list(read_ahead(iter(range(100)), 3)) == list(range(100))


def test_nothing_gives_nothing() -> None:
    assert list(read_ahead(iter(()), 3)) == []


def test_an_error_comes_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ZeroDivisionError

    found = read_ahead(items(), 3)
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_items_are_drawn_ahead_but_never_further_than_asked() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            drawn.append(number)
            yield number

    found = read_ahead(items(), 4)
    assert next(found) == 0
    # One is used, four wait, and the thread holds one.
    eventually(lambda: len(drawn) == 6)
    assert next(found) == 1
    eventually(lambda: len(drawn) == 7)
    found.close()
    assert len(drawn) <= 8


def test_who_stops_early_ends_the_thread() -> None:
    found = read_ahead(iter(range(100)), 2)
    next(found)
    found.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def eventually(claim: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.005)
