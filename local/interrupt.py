"""Handle SIGINT and SIGTERM so that child processes are stopped in order, even if the signal is repeated."""

import signal

_ENDING = (signal.SIGINT, signal.SIGTERM)


def interrupt_once() -> None:
    """Raise KeyboardInterrupt at the first SIGINT or SIGTERM, and ignore later ones.

    `timeout` and service managers signal make and its child, and make signals its child again. A second
    KeyboardInterrupt would abort the shutdown, and child processes would be left running.
    """
    # Set for SIGINT too, because shells let background programs ignore it.
    for number in _ENDING:
        signal.signal(number, _interrupt)


def _interrupt(*_: object) -> None:
    for number in _ENDING:
        # Not SIG_IGN, because child processes started from now on would inherit it.
        signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt
