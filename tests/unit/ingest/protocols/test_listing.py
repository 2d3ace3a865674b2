"""A listing is used completely, or not at all."""

from itertools import count

import pytest

from config.errors import SourceRefusedError
from ingest.protocols.listing import limited


def test_a_listing_that_fits_is_taken_whole() -> None:
    assert list(limited(range(3), "out", limit=3)) == [0, 1, 2]


def test_of_a_listing_without_an_end_no_more_is_taken_than_is_needed_to_tell() -> None:
    listing = count()
    with pytest.raises(SourceRefusedError, match=r"list 'out': .* a folder with fewer files"):
        list(limited(listing, "out", limit=3))
    assert next(listing) == 4
