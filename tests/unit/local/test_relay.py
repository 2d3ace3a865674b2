"""The event relay's decisions: the content of an event, the times of retries, the state that is kept."""

import argparse
import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from local.relay.__main__ import _webhook
from local.relay.delivery import Answer, Delivery, Patience, dead_letter
from local.relay.events import Blob, blob_created, fingerprint
from local.relay.state import Seen, State, StateFile
from local.relay.subscription import Subscription

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
BLOB = Blob(
    name="radar/a b.zip",
    created=NOON,
    modified=NOON + timedelta(seconds=1),
    etag='"0x8D4BCC2E4835CD0"',
    size=524288,
    content_type="application/zip",
    md5="",
    type="BlockBlob",
    tier="Default",
)


def event(blob: Blob = BLOB, blocks: tuple[str, ...] = ()) -> dict[str, object]:
    return blob_created(blob, account="acc", container="raw", url="http://h/acc/raw/radar/a%20b.zip", blocks=blocks)


def answer(status: int | None) -> Answer:
    return Answer(status=status, detail="", seconds=0.1)


def test_an_event_has_the_fields_of_event_grid_and_no_others() -> None:
    made = event()
    data = made.pop("data")
    assert isinstance(data, dict)
    identity = str(made.pop("id"))
    assert made == {
        "topic": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/local"
        "/providers/Microsoft.Storage/storageAccounts/acc",
        "subject": "/blobServices/default/containers/raw/blobs/radar/a b.zip",
        "eventType": "Microsoft.Storage.BlobCreated",
        "eventTime": "2026-03-01T12:00:01.000Z",
        "dataVersion": "",
        "metadataVersion": "1",
    }
    assert re.fullmatch(r"[0-9a-f-]{36}", identity)
    for made_up in ("clientRequestId", "requestId", "sequencer", "storageDiagnostics"):
        assert data.pop(made_up)
    assert data == {
        "api": "PutBlob",
        "eTag": "0x8D4BCC2E4835CD0",
        "contentType": "application/zip",
        "contentLength": 524288,
        "blobType": "BlockBlob",
        "accessTier": "Default",
        "url": "http://h/acc/raw/radar/a%20b.zip",
    }


def test_a_blob_made_of_blocks_was_put_by_block_list() -> None:
    data = event(blocks=("AAAA",))["data"]
    assert isinstance(data, dict)
    assert data["api"] == "PutBlockList"


def test_sequencers_of_later_events_are_greater() -> None:
    sequencers = []
    for made in (event(), event()):
        data = made["data"]
        assert isinstance(data, dict)
        sequencers.append(data["sequencer"])
        time.sleep(0.001)
    assert sequencers == sorted(sequencers)
    assert len(sequencers[0]) == len(sequencers[1])


def test_a_fingerprint_survives_new_metadata_and_no_new_content() -> None:
    before = fingerprint(BLOB, ())
    touched = replace(BLOB, etag='"new"', modified=NOON + timedelta(hours=1), content_type="text/plain", tier="Cool")
    assert fingerprint(touched, ()) == before
    rewritten = [
        (replace(BLOB, created=NOON + timedelta(seconds=1)), ()),
        (replace(BLOB, size=1), ()),
        (replace(BLOB, md5="00"), ()),
        (BLOB, ("AAAA",)),
    ]
    assert before not in {fingerprint(blob, blocks) for blob, blocks in rewritten}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("radar/a.zip", True), ("RADAR/A.ZIP", True), ("other/a.zip", False), ("radar/a.zip.part", False)],
)
def test_filters_are_a_prefix_and_a_suffix_whatever_the_case(name: str, wanted: bool) -> None:
    assert Subscription(container="raw", to="", prefix="radar/", suffix=".zip").wants(name) is wanted


@pytest.mark.parametrize("to", ["nonsense", "http://", "ftp://a/b", "http://a:b/", "http://a:99999/"])
def test_what_is_no_address_is_told_at_once(to: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a valid address of a webhook: give one such as http"):
        _webhook(to)
    assert _webhook("http://127.0.0.1:7071/x?y=z") == "http://127.0.0.1:7071/x?y=z"


def test_a_subscription_can_leave_out_what_contains_a_text() -> None:
    subscription = Subscription(container="raw", to="", without="Quiet")
    assert [subscription.wants(name) for name in ("a/quiet.zip", "a/b.zip")] == [False, True]


def waits(status: int | None, attempts: int, patience: Patience | None = None) -> float | None:
    delivery = Delivery({}, attempts=attempts)
    return (patience or Patience()).retry_after(delivery, answer(status))


def test_retries_come_on_event_grids_schedule() -> None:
    assert [waits(500, attempts) for attempts in range(1, 7)] == [10, 30, 60, 300, 600, 1800]
    assert waits(None, 1) == 10
    assert waits(500, 3, Patience(scale=0.1)) == pytest.approx(6)


@pytest.mark.parametrize(("status", "least"), [(401, 300), (403, 300), (404, 300), (408, 120), (503, 30)])
def test_some_answers_make_it_wait_longer(status: int, least: float) -> None:
    assert waits(status, 1) == least
    assert waits(status, 6) == 1800


@pytest.mark.parametrize("status", [400, 413])
def test_answers_that_cannot_change_are_not_retried(status: int) -> None:
    assert waits(status, 1) is None


def test_an_event_is_given_up_after_its_attempts_or_its_time() -> None:
    assert waits(500, 2, Patience(max_attempts=3)) is not None
    assert waits(500, 3, Patience(max_attempts=3)) is None
    old = Delivery({}, attempts=9, published=time.monotonic() - 86_000)
    assert Patience().retry_after(old, answer(500)) is None
    assert Patience().reason(old, answer(500)) == "TimeToLiveExceeded"


@pytest.mark.parametrize(("status", "accepted"), [(200, True), (202, True), (204, True), (205, False), (302, False)])
def test_only_200_to_204_accept_an_event(status: int, accepted: bool) -> None:
    assert answer(status).accepted is accepted


def test_a_dead_letter_holds_the_event_and_why_it_was_given_up() -> None:
    delivery = Delivery(event(), attempts=3)
    name, content = dead_letter(delivery, answer(404), "MaxDeliveryAttemptsExceeded")
    [letter] = json.loads(content)
    assert letter["subject"] == delivery.event["subject"]
    assert letter["deadLetterReason"] == "MaxDeliveryAttemptsExceeded"
    assert (letter["deliveryAttempts"], letter["lastDeliveryOutcome"]) == (3, "NotFound")
    assert re.fullmatch(rf"LOCAL/\d{{4}}/\d\d/\d\d/\d\d/{delivery.event['id']}\.json", name)


def test_state_survives_in_its_file(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json")
    assert (file.exists(), file.load()) == (False, State())
    made = event()
    state = State({"a.zip": Seen("etag", "print")}, {str(made["id"]): made})
    file.save(state)
    assert (file.exists(), file.load()) == (True, state)
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"seen": {"a": 1}, "pending": []}'])
def test_a_file_that_is_no_state_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(ValueError, match=r"state\.json is not a valid state"):
        StateFile(tmp_path / "state.json").load()


def test_blobs_that_are_gone_are_forgotten() -> None:
    state = State({"a": Seen("1", "1"), "b": Seen("2", "2")})
    assert state.forget_all_but({"a"})
    assert state.seen.keys() == {"a"}
    assert not state.forget_all_but({"a"})
