"""Find limits that are nearly reached, so that they are reported while there is time to raise them."""

from collections.abc import Mapping

NEAR = 0.8
"""Share of a limit at which it counts as nearly reached."""


def nearly(shares: Mapping[str, float]) -> Mapping[str, float]:
    """Return those shares of limits, by setting, that are at least NEAR, rounded to three digits."""
    return {name: round(share, 3) for name, share in shares.items() if share >= NEAR}


def highest(one: Mapping[str, float], other: Mapping[str, float]) -> Mapping[str, float]:
    """Return the higher share of each limit."""
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in sorted({*one, *other})}
