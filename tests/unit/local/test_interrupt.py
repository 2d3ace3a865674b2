"""A process that gets several signals to end still stops the programs that it started."""

import signal
import subprocess
import sys

_PROGRAM = """
import os, signal, time
from local.interrupt import interrupt_once

interrupt_once()
try:
    os.kill(os.getpid(), signal.{first})
    time.sleep(60)
except KeyboardInterrupt:
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    print("all is put away")
"""


def test_being_told_again_does_not_cut_the_ending_short() -> None:
    for first in (signal.SIGINT, signal.SIGTERM):
        program = _PROGRAM.format(first=first.name)
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert ended.stdout == "all is put away\n"
