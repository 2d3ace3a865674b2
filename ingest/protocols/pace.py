"""How slow a server may be before it counts as one that does not answer."""

import time

_SLOWEST = 512
"""Bytes per second. A folder's listing takes some 100 per file, so even a slow one is faster."""


class Pace:
    """Holds a server to a minimum rate: one that sends a byte now and then never runs into a socket's time-out."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._waited = 0.0
        self._received = 0

    def note(self, began: float, received: int) -> None:
        """Take note of bytes that were waited for since `began` (monotonic); only waiting counts, not what we do.

        Raises TimeoutError if too few came for as long as the time-out.
        """
        self._waited += time.monotonic() - began
        self._received += received
        if self._received >= _SLOWEST * self._timeout:
            self._waited, self._received = 0.0, 0
        elif received and self._waited > self._timeout:
            raise TimeoutError(f"only {self._received} bytes came in {self._waited:.0f} s")
