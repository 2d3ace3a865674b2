"""Functions end in order before the host ends them."""

from datetime import UTC, datetime, timedelta

import pytest

from bootstrap import in_time


def test_a_run_of_reconcile_that_has_taken_its_time_begins_with_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    now = datetime.now(UTC)
    assert list(in_time([1, 2, 3], now)) == [1, 2, 3]
    assert list(in_time([1, 2, 3], now - timedelta(minutes=16))) == []
    assert "reconcile.cut" in caplog.text
