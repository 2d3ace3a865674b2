"""An untrusted server, or one that allows less than TLS, never receives a password."""

import socket
import ssl
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from config.errors import SourceRefusedError, SourceUnavailableError
from ingest.model import Endpoint
from ingest.protocols.connect import connector
from local.servers.certificate import SshKey, make_ssh_key
from local.servers.child import HOST, free_port, running
from local.servers.needed import need
from local.servers.server import Server
from local.servers.sshd import sshd_command, sshd_user
from tests.fixtures.secrecy import secrets_in

PASSWORD = "s3cret-of-the-doors"
TOMORROW = datetime.now(UTC) + timedelta(days=1)
OURS = x509.IPAddress(IPv4Address(HOST))


@dataclass(slots=True)
class FakeFtp:
    """Answers each command as configured, and notes it; a command without an answer is reported as unknown."""

    answers: dict[str, str]
    context: ssl.SSLContext | None = None
    implicit: bool = False
    heard: list[str] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        """Serve connections until the listener is closed."""
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                # The tests are about connections that the client breaks.
                with suppress(OSError), connection:
                    connection.settimeout(5)
                    self._talk(connection)

    def _secured(self, connection: socket.socket) -> socket.socket:
        assert self.context is not None
        return self.context.wrap_socket(connection, server_side=True)

    def _talk(self, connection: socket.socket) -> None:
        if self.implicit:
            connection = self._secured(connection)
        connection.sendall(b"220 hello\r\n")
        waiting = b""
        while part := connection.recv(1000):
            waiting += part
            while b"\r\n" in waiting:
                line, _, waiting = waiting.partition(b"\r\n")
                self.heard.append(line.decode("latin-1"))
                answer = self.answers.get(self.heard[-1].split()[0], "500 what?")
                connection.sendall(f"{answer}\r\n".encode())
                if line == b"AUTH TLS" and answer.startswith("234"):
                    connection = self._secured(connection)
        connection.close()


@contextmanager
def served(fake: FakeFtp, *, ca: str | None = None, timeout: float = 5) -> Iterator[Endpoint]:
    """Run a fake server; return the endpoint of a source there."""
    with socket.create_server((HOST, 0)) as listener:
        thread = threading.Thread(target=fake.serve, args=(listener,), daemon=True)
        thread.start()
        yield Endpoint(
            scheme="ftps" if fake.implicit else "ftpes",
            host=HOST,
            port=listener.getsockname()[1],
            user="user-of-the-doors",
            password=PASSWORD,
            ca=ca,
            timeout=timeout,
        )
        # Close alone does not wake a thread that waits in accept.
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def refused(endpoint: Endpoint) -> str:
    """The message if a server is not trusted."""
    with pytest.raises(SourceRefusedError) as caught, connector(endpoint).connect():
        pass
    assert not secrets_in("".join(traceback.format_exception(caught.value)))
    return str(caught.value)


class Chain:
    """An authority, and a server's certificate that it signed."""

    def __init__(self, folder: Path, *, name: x509.GeneralName = OURS, until: datetime = TOMORROW) -> None:
        key, signer = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        basic, names = x509.BasicConstraints(ca=True, path_length=None), x509.SubjectAlternativeName([name])
        authority = _builder("authority", signer, TOMORROW).add_extension(basic, critical=True)
        server = _builder("server", key, until).add_extension(names, critical=False)
        self.authority = _pem(authority.sign(signer, hashes.SHA256()))
        self._file = folder / "server.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self._file.write_text(private + _pem(server.sign(signer, hashes.SHA256())))

    def context(self) -> ssl.SSLContext:
        """Return the arguments with which a server shows it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._file)
        return context


def _builder(subject: str, key: ec.EllipticCurvePrivateKey, until: datetime) -> x509.CertificateBuilder:
    issuer, own = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority", subject))
    builder = x509.CertificateBuilder().issuer_name(issuer).subject_name(own).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(TOMORROW - timedelta(days=9)).not_valid_after(until)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize("answer", ["500 what?", "502 no TLS here", "504 not that", "530 log in first", "534 policy"])
def test_a_server_that_refuses_tls_gets_no_password(answer: str) -> None:
    fake = FakeFtp({"AUTH": answer, "USER": "331 password?", "PASS": "230 welcome"})
    with served(fake) as endpoint:
        assert "TLS" in refused(endpoint)
    assert fake.heard == ["AUTH TLS"]


@pytest.mark.parametrize("answer", ["200 as you like", "230 you are logged in", "421 later", "431 not now"])
def test_a_server_that_evades_tls_gets_no_password(answer: str) -> None:
    """It agrees or declines, and then continues in the clear."""
    fake = FakeFtp({"AUTH": answer, "USER": "331 password?", "PASS": "230 welcome"})
    with served(fake, timeout=0.5) as endpoint, pytest.raises(SourceUnavailableError), connector(endpoint).connect():
        pass
    assert not any("doors" in line for line in fake.heard)


@pytest.mark.parametrize("refusing", ["PBSZ", "PROT"])
def test_a_server_that_refuses_to_protect_data_gets_no_listing_nor_file(refusing: str, tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    answers = {"AUTH": "234 go on", "USER": "331 password?", "PASS": "230 welcome", "PBSZ": "200 ok", "PROT": "200 ok"}
    fake = FakeFtp(answers | {refusing: "536 in the clear only"}, chain.context())
    with served(fake, ca=chain.authority) as endpoint:
        refused(endpoint)
    assert fake.heard[-1].startswith(refusing)


WELCOME = {"AUTH": "234 go on", "USER": "331 password?", "PASS": "230 welcome", "PBSZ": "200 ok", "PROT": "200 ok"}


@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
class TestCertificates:
    def test_the_right_one_opens_the_door(self, implicit: bool, tmp_path: Path) -> None:
        chain = Chain(tmp_path)
        fake = FakeFtp(WELCOME, chain.context(), implicit)
        with served(fake, ca=chain.authority) as endpoint, connector(endpoint).connect():
            pass
        assert f"PASS {PASSWORD}" in fake.heard

    @pytest.mark.parametrize(
        ("name", "until", "message"),
        [
            (x509.DNSName("images.example"), TOMORROW, "mismatch"),
            (x509.IPAddress(IPv4Address("127.0.0.2")), TOMORROW, "mismatch"),
            (OURS, TOMORROW - timedelta(days=2), "expired"),
        ],
    )
    def test_one_for_another_host_or_another_time_is_refused(
        self, implicit: bool, name: x509.GeneralName, until: datetime, message: str, tmp_path: Path
    ) -> None:
        chain = Chain(tmp_path, name=name, until=until)
        fake = FakeFtp(WELCOME, chain.context(), implicit)
        with served(fake, ca=chain.authority) as endpoint:
            assert message in refused(endpoint)
        assert not any("doors" in line for line in fake.heard)

    @pytest.mark.parametrize("trusted", [False, True], ids=["by nobody", "by another authority"])
    def test_one_that_nobody_whom_we_trust_has_signed_is_refused(
        self, implicit: bool, trusted: bool, tmp_path: Path
    ) -> None:
        fake = FakeFtp(WELCOME, Chain(tmp_path).context(), implicit)
        with served(fake) as endpoint:
            other = replace(endpoint, ca=Chain(tmp_path).authority if trusted else None)
            assert "certificate is not trusted" in refused(other)
        assert not any("doors" in line for line in fake.heard)

    def test_tls_older_than_1_2_is_not_spoken(self, implicit: bool, tmp_path: Path) -> None:
        chain = Chain(tmp_path)
        context = chain.context()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        fake = FakeFtp(WELCOME, context, implicit)
        with (
            served(fake, ca=chain.authority) as endpoint,
            pytest.raises((SourceRefusedError, SourceUnavailableError), match=r"(?i)version|protocol"),
            connector(endpoint).connect(),
        ):
            pass
        assert not any("doors" in line for line in fake.heard)


def rsa_key() -> SshKey:
    key = rsa.generate_private_key(65537, 2048)
    return SshKey(
        private=key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(),
        public=key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
    )


@contextmanager
def sshd(folder: Path, *options: str) -> Iterator[Endpoint]:
    """Run sshd with an RSA host key and options of its own."""
    host_key, client_key, port = rsa_key(), make_ssh_key(), free_port()
    command = sshd_command(need("sshd"), folder, port, host_key, client_key)
    with (folder / "sshd_config").open("a") as config:
        config.write("".join(f"{option}\n" for option in options))
    with running(command, port, folder / "log"):
        yield Endpoint(
            scheme="sftp",
            host=HOST,
            port=port,
            user=sshd_user(),
            folder=str(folder),
            private_key=client_key.private,
            host_key=host_key.public,
            timeout=5,
        )


@pytest.mark.parametrize(
    "option",
    [
        "KexAlgorithms diffie-hellman-group14-sha1",
        "KexAlgorithms diffie-hellman-group1-sha1,diffie-hellman-group-exchange-sha1",
        "Ciphers 3des-cbc,aes128-cbc",
        "HostKeyAlgorithms ssh-rsa",
    ],
)
def test_a_server_that_knows_only_weak_algorithms_is_refused(option: str, tmp_path: Path) -> None:
    with sshd(tmp_path, option) as endpoint:
        assert "supports none of the client's algorithms" in refused(endpoint)


def test_a_server_that_knows_only_weak_macs_is_refused(tmp_path: Path) -> None:
    with sshd(tmp_path, "Ciphers aes128-ctr", "MACs hmac-md5,hmac-sha1,hmac-md5-etm@openssh.com") as endpoint:
        assert "supports none of the client's algorithms" in refused(endpoint)


def test_an_rsa_host_key_is_taken_with_sha2(tmp_path: Path) -> None:
    """So the tests above refuse the algorithms, not the server."""
    with sshd(tmp_path) as endpoint, connector(endpoint).connect() as connection:
        assert "log" in {file.path for file in connection.list_files().files}


def test_a_login_that_fails_gives_nothing_away(tmp_path: Path) -> None:
    with sshd(tmp_path) as endpoint:
        wrong_key = replace(endpoint, private_key=rsa_key().private, password=PASSWORD)
        refused(wrong_key)
        refused(replace(endpoint, private_key=PASSWORD, passphrase=PASSWORD))
        refused(replace(endpoint, private_key=rsa_key().private[:300], passphrase=PASSWORD))


@pytest.mark.parametrize("server", ["parasftp", "vsftpd", "vsftpd_explicit_tls", "pyftpd", "pyftpd_implicit_tls"])
def test_a_wrong_password_shows_in_no_traceback(server: str, request: pytest.FixtureRequest) -> None:
    known: Server = request.getfixturevalue(server)
    refused(replace(known.endpoint(), password=PASSWORD, private_key=None))
