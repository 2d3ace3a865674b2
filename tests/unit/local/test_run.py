"""The running system's settings, as a shell reads them."""

import stat
import subprocess
from pathlib import Path

from local.run import write_environment

SETTINGS = {
    "STORAGE": "AccountName=a;AccountKey=k==;BlobEndpoint=http://127.0.0.1:1/a",
    "SOURCES__NORTH__PRIVATE_KEY": "-----BEGIN KEY-----\nab'c $HOME `x`\n-----END KEY-----\n",
}


def test_a_shell_reads_the_settings_as_they_are(tmp_path: Path) -> None:
    write_environment(tmp_path / "env", SETTINGS)

    for name, value in SETTINGS.items():
        script = f'. "{tmp_path}/env" && printf %s "${name}"'
        assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == value


def test_nobody_else_can_read_the_secrets(tmp_path: Path) -> None:
    write_environment(tmp_path / "env", SETTINGS)

    assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600
