"""Minimum rate at which a server must send. A slower one counts as not answering."""

import time

_SLOWEST = 512
"""Bytes per second. A listing has about 100 bytes per file, so even a slow listing is faster."""


class Pace:
    """Check of a minimum rate. A server that sends single bytes now and then never exceeds a socket's time-out."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._waited = 0.0
        self._received = 0

    def note(self, began: float, received: int) -> None:
        """Record that `received` bytes arrived after waiting since `began` (`time.monotonic()`, in seconds).

        Only time spent waiting counts, not the caller's work. Raises TimeoutError if fewer than 512 bytes/s arrived
        over the time-out.
        """
        self._waited += time.monotonic() - began
        self._received += received
        if self._received >= _SLOWEST * self._timeout:
            self._waited, self._received = 0.0, 0
        elif received and self._waited > self._timeout:
            raise TimeoutError(f"the server sent only {self._received} bytes in {self._waited:.0f} s")
