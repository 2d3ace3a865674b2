"""Configure OpenSSH's sshd for one user and one key; without root, only the user who starts it can log in."""

import getpass
import os
from pathlib import Path

from local.servers.certificate import SshKey
from local.servers.child import HOST
from local.servers.needed import UNPACKED

_PARTS = {"SshdSessionPath": "sshd-session", "SshdAuthPath": "sshd-auth"}
"""Options that set the paths of the programs that sshd runs since OpenSSH 9.8; an unpacked sshd needs them."""


def sshd_user() -> str:
    """Return the only user who can log in."""
    return getpass.getuser()


def sshd_command(program: str, folder: Path, port: int, host_key: SshKey, client_key: SshKey) -> list[str | Path]:
    """Write sshd's files to `folder` and return its command. `program` must be an absolute path, as sshd requires."""
    _write(folder / "host_key", host_key.private)
    _write(folder / "authorized_keys", client_key.public + "\n")
    config = folder / "sshd_config"
    _write(config, _config(folder, port) + (_parts() if Path(program).is_relative_to(UNPACKED) else ""))
    if os.geteuid() == 0:
        # The package creates it at boot, which does not happen in containers.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return [program, "-D", "-e", "-f", config]


def _config(folder: Path, port: int) -> str:
    # StrictModes would reject keys below a folder that other users can write to, such as /tmp.
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
