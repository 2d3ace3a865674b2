"""The demo fails unless every byte and every image is read back, although the host is killed twice."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from local.system import PROJECT
from tests.fixtures.secrecy import secrets_in


@pytest.mark.timeout(300)
def test_the_demo_finds_everything_again_although_the_host_is_killed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local.demo", "--chaos", "--folder", str(tmp_path / "demo")],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not secrets_in(done.stdout + (tmp_path / "demo/logs/host.log").read_text())
    assert "read back exactly once" in done.stdout
    with Image.open(tmp_path / "demo" / "contact-sheet.png") as contact_sheet:
        assert contact_sheet.width > 1000
