"""How long the functions host retries a call to storage, and which errors end it."""

import asyncio

import pytest
from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError

from local.host.storage import insist
from local.host.workers import HostEndsError


class Storage:
    """Answers with one error after the other, and then correctly; time passes only between two calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *errors: AzureError) -> None:
        self._errors = list(errors)
        self._time = 1000.0
        monkeypatch.setattr("local.host.storage.time.monotonic", lambda: self._time)
        monkeypatch.setattr("local.host.storage.asyncio.sleep", self._sleep)

    async def call(self) -> str:
        if self._errors:
            raise self._errors.pop(0)
        return "answered"

    async def _sleep(self, seconds: float) -> None:
        self._time += seconds

    def insist(self, patience: float) -> str:
        return asyncio.run(insist(self.call, "poll queue q", patience))


def refused(times: int) -> list[AzureError]:
    return [ServiceRequestError("connection refused")] * times


def test_refusals_are_borne_for_as_long_as_patience_lasts_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Storage(monkeypatch, *refused(50)).insist(25) == "answered"
    with pytest.raises(HostEndsError, match="poll queue q: storage refused for 25 s: connection refused"):
        Storage(monkeypatch, *refused(52)).insist(25)


def test_a_storage_that_hangs_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Storage(monkeypatch, *[ServiceResponseError("timeout")] * 500).insist(25) == "answered"


def test_a_storage_that_hangs_between_two_refusals_does_not_add_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    hung = [ServiceResponseError("timeout")] * 100
    assert Storage(monkeypatch, *refused(10), *hung, *refused(10)).insist(25) == "answered"


def test_an_answer_of_the_service_is_not_insisted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HttpResponseError):
        Storage(monkeypatch, HttpResponseError("forbidden")).insist(25)
