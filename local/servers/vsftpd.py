"""Configure vsftpd for one virtual user. It runs as the user who starts it, without root or a system account."""

import getpass
from pathlib import Path

from local.servers.certificate import Certificate
from local.servers.child import HOST

USER = "anonymous"
"""The only name for which vsftpd uses its own password list; others would need PAM."""


def vsftpd_command(
    program: str,
    folder: Path,
    root: Path,
    port: int,
    password: str,
    *,
    tls: str | None,
    certificate: Certificate,
    max_clients: int,
    local_time: bool = False,
) -> list[str | Path]:
    """Write vsftpd's files to `folder` and return its command."""
    (folder / "passwords").write_text(password + "\n")
    (folder / "server.pem").write_text(certificate.key + certificate.certificate)
    config = folder / "vsftpd.conf"
    options = _options(folder, root, port) | _tls(folder, tls) | {"max_clients": str(max_clients)}
    if local_time:
        options["use_localtime"] = "YES"
    config.write_text("".join(f"{name}={value}\n" for name, value in options.items()))
    config.chmod(0o600)
    return [program, config]


def _options(folder: Path, root: Path, port: int) -> dict[str, str]:
    me = getpass.getuser()
    return {
        "listen": "YES",
        "listen_address": HOST,
        "listen_port": str(port),
        "background": "NO",
        "run_as_launching_user": "YES",
        "ftp_username": me,
        "nopriv_user": me,
        "local_enable": "NO",
        "anonymous_enable": "YES",
        "anon_root": str(root),
        "anon_world_readable_only": "NO",
        "secure_email_list_enable": "YES",
        "email_password_file": str(folder / "passwords"),
        "delay_failed_login": "0",
        "seccomp_sandbox": "NO",
        "utf8_filesystem": "YES",
        "vsftpd_log_file": str(folder / "vsftpd.log"),
        "xferlog_enable": "YES",
    }


def _tls(folder: Path, tls: str | None) -> dict[str, str]:
    if tls is None:
        return {}
    return {
        "ssl_enable": "YES",
        "implicit_ssl": "YES" if tls == "implicit" else "NO",
        "allow_anon_ssl": "YES",
        "force_anon_logins_ssl": "YES",
        "force_anon_data_ssl": "YES",
        # Data connections must resume the TLS session of the control connection, as strict servers require.
        "require_ssl_reuse": "YES",
        "rsa_cert_file": str(folder / "server.pem"),
        "ssl_ciphers": "HIGH",
    }
