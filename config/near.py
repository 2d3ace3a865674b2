"""Limits that are nearly reached: they are told of while there is time to raise them."""

from collections.abc import Mapping

NEAR = 0.8
"""The share of a limit from which on it counts as nearly reached."""


def nearly(shares: Mapping[str, float]) -> Mapping[str, float]:
    """Return the shares of limits, by their settings, that are at least NEAR."""
    return {name: round(share, 3) for name, share in shares.items() if share >= NEAR}


def highest(one: Mapping[str, float], other: Mapping[str, float]) -> Mapping[str, float]:
    """Merge shares: of each limit the higher one."""
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in sorted({*one, *other})}
