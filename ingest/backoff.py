"""Pause before the next try after failures."""

import random
from datetime import timedelta


def backoff(failures: int, first: timedelta, longest: timedelta) -> timedelta:
    """Return a pause that doubles with each failure in a row, up to `longest`, less a random part of up to half.

    The random part keeps many retries from coming at the same time.
    """
    # After 20 doublings every pause is `longest`, and more would overflow.
    pause = min(first * (1 << min(failures - 1, 20)), longest)
    return pause * random.uniform(0.5, 1)  # noqa: S311 - no secret
