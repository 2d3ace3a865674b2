"""Named pipelines: the first settings under a name define it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from config.errors import PipelineMismatchError
from storage.blobs.pipelines import hold_pipeline
from storage.clients import Clients


def test_the_same_settings_are_welcome_again(clients: Clients, source: str) -> None:
    hold_pipeline(clients, source, "one")
    hold_pipeline(clients, source, "one")


def test_other_settings_under_the_name_are_refused_with_what_to_do(clients: Clients, source: str) -> None:
    hold_pipeline(clients, source, "one")
    with pytest.raises(PipelineMismatchError, match="PIPELINE_NAME") as caught:
        hold_pipeline(clients, source, "two")
    assert source in str(caught.value)
    hold_pipeline(clients, source, "one")


def test_of_two_that_begin_at_once_one_decides(clients: Clients, source: str) -> None:
    def holds(fingerprint: str) -> bool:
        try:
            hold_pipeline(clients, source, fingerprint)
        except PipelineMismatchError:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        held = list(pool.map(holds, "ababababab"))
    assert held in ([True, False] * 5, [False, True] * 5)
