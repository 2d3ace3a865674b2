"""How much SSH lets be on its way."""

import pytest

from ingest.protocols.sftp_login import window_for

MIB = 2**20


@pytest.mark.parametrize(("way", "window"), [(0.0, 2), (0.001, 2), (0.03125, 8), (0.1, 16), (20.0, 16)])
def test_the_window_is_what_the_way_holds_at_full_speed_within_bounds(way: float, window: int) -> None:
    assert window_for(way) == window * MIB
