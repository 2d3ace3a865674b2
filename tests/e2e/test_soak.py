"""A minute of archives on three servers while all processes around them die: nothing is lost, doubled or stuck."""

import subprocess
import sys
from pathlib import Path

import pytest

from local.system import PROJECT
from tests.fixtures.secrecy import secrets_in


@pytest.mark.long
@pytest.mark.timeout(480)
def test_a_minute_of_kills_cuts_and_outages_loses_and_doubles_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local.soak", "--minutes", "1", "--seed", "1", "--folder", str(tmp_path / "soak")],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr)  # noqa: T201 - shown when it fails, and searched for secrets
    assert done.returncode == 0
    assert "read back exactly once" in done.stdout
    assert not secrets_in((tmp_path / "soak/logs/host.log").read_text())
    assert not secrets_in((tmp_path / "soak/logs/relay.log").read_text())
