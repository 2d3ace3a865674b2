"""The size of the SSH window."""

import pytest

from ingest.protocols.sftp_login import window_for

MIB = 2**20


@pytest.mark.parametrize(("round_trip", "window"), [(0.0, 2), (0.001, 2), (0.03125, 8), (0.1, 16), (20.0, 16)])
def test_the_window_is_what_the_line_holds_at_full_speed_within_bounds(round_trip: float, window: int) -> None:
    assert window_for(round_trip) == window * MIB
