"""How long to leave alone what failed."""

import random
from datetime import timedelta


def backoff(failures: int, first: timedelta, longest: timedelta) -> timedelta:
    """Give a pause that doubles with each failure in a row, less up to half, so that many do not come back at once."""
    # Beyond 20 doublings every pause is the longest, and larger numbers would overflow.
    pause = min(first * (1 << min(failures - 1, 20)), longest)
    return pause * random.uniform(0.5, 1)  # noqa: S311 - no secret
