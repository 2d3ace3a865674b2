"""OpenSSH's sshd for one user and one key; needs no root, but then serves only the user who starts it."""

import getpass
import os
from pathlib import Path

from local.servers.certificate import SshKey
from local.servers.child import HOST
from local.servers.needed import UNPACKED

_PARTS = {"SshdSessionPath": "sshd-session", "SshdAuthPath": "sshd-auth"}
"""Programs that sshd runs since OpenSSH 9.8, and the options that say where one that was unpacked has them."""


def sshd_user() -> str:
    """Give the one user who can log in."""
    return getpass.getuser()


def sshd_command(program: str, folder: Path, port: int, host_key: SshKey, client_key: SshKey) -> list[str | Path]:
    """Write sshd's files to `folder` and give the command that runs `program`: an absolute path, as sshd demands."""
    _write(folder / "host_key", host_key.private)
    _write(folder / "authorized_keys", client_key.public + "\n")
    config = folder / "sshd_config"
    _write(config, _config(folder, port) + (_parts() if Path(program).is_relative_to(UNPACKED) else ""))
    if os.geteuid() == 0:
        # Packages create it at boot, which containers do not have.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return [program, "-D", "-e", "-f", config]


def _config(folder: Path, port: int) -> str:
    # StrictModes would refuse keys below a folder that others may write to, such as /tmp.
    return f"""\
ListenAddress {HOST}:{port}
HostKey "{folder}/host_key"
AuthorizedKeysFile "{folder}/authorized_keys"
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
Subsystem sftp internal-sftp
ForceCommand internal-sftp
"""


def _parts() -> str:
    parts = {option: UNPACKED / "root/usr/lib/openssh" / name for option, name in _PARTS.items()}
    return "".join(f'{option} "{path}"\n' for option, path in parts.items() if path.exists())


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
