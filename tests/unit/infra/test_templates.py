"""Checks of the templates' text, which need no compiler; tests/infra has those that need one."""

import re
from pathlib import Path

import pytest

from imagefeed import layout as keys
from preprocess.event import COMPLETE
from tests.tools.bicep import INFRA

FILES = sorted(INFRA.rglob("*.bicep"))
STORAGE = (INFRA / "modules" / "storage.bicep").read_text()
SUBSCRIPTION = (INFRA / "modules" / "event-subscription.bicep").read_text()
DECLARED = re.compile(r"^(?:param|output) (\w+) ", re.MULTILINE)
DESCRIBED = re.compile(r"^@description\('.{10,}'\)\n(?:@.*\n)*(?:param|output) (\w+) ", re.MULTILINE)


def listed(text: str, name: str) -> set[str]:
    """Read a list of texts that has this name."""
    (entries,) = re.findall(rf"\b{name}(?: =|:) \[([^\]]*)\]", text)
    return set(re.findall(r"'([^']+)'", entries))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(INFRA)))
def test_every_parameter_and_output_is_described(path: Path) -> None:
    text = path.read_text()
    assert DECLARED.findall(text) != []
    assert DECLARED.findall(text) == DESCRIBED.findall(text)


def test_containers_tables_and_queues_are_those_of_the_code() -> None:
    containers = {keys.RAW_CONTAINER, keys.PROCESSED_CONTAINER, keys.STATE_CONTAINER, keys.DEAD_LETTER_CONTAINER}
    assert listed(STORAGE, "containerNames") == containers
    assert listed(STORAGE, "tableNames") == {keys.ARCHIVES_TABLE, keys.BATCHES_TABLE, keys.IMAGES_TABLE}
    queues = {keys.POLL_QUEUE, keys.BATCH_QUEUE}
    assert listed(STORAGE, "queueNames") == queues | {f"{queue}{keys.POISON}" for queue in queues}


def test_the_event_subscription_asks_for_what_the_code_takes() -> None:
    assert listed(SUBSCRIPTION, "values") == COMPLETE
    assert f"subjectBeginsWith: '/blobServices/default/containers/{keys.RAW_CONTAINER}/blobs/'" in SUBSCRIPTION
    assert f"name: '{keys.DEAD_LETTER_CONTAINER}'" in (INFRA / "events.bicep").read_text()
