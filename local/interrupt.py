"""Ctrl-C and its kin: what was started is ended in order, however often that is asked for."""

import signal

_ENDING = (signal.SIGINT, signal.SIGTERM)


def interrupt_once() -> None:
    """Let the first SIGINT or SIGTERM raise KeyboardInterrupt, and pass over what follows.

    `timeout` and service managers tell make and its child, and make tells its child again: the second signal would
    cut short the stopping that the first began, and what was not stopped yet would run on by itself.
    """
    # Also SIGINT: shells make what they run in the background ignore it.
    for number in _ENDING:
        signal.signal(number, _interrupt)


def _interrupt(*_: object) -> None:
    for number in _ENDING:
        # Not SIG_IGN, which programs that are started from now on would inherit.
        signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt
