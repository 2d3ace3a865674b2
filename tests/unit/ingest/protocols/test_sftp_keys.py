"""Keys as people paste them into settings."""

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from config.errors import SourceRefusedError
from ingest.protocols.private_keys import private_key_problem
from ingest.protocols.sftp_keys import HostKeys, read_private_key
from local.servers.certificate import make_ssh_key

type Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

RSA, ED25519 = rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()
KEYS: list[Key] = [RSA, ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP521R1()), ED25519]


def text_of(key: Key, form: PrivateFormat, passphrase: str | None = None) -> str:
    secret: KeySerializationEncryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, secret).decode()


@pytest.mark.parametrize(
    "form", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=str
)
@pytest.mark.parametrize("key", KEYS, ids=lambda key: type(key).__name__)
def test_keys_of_all_kinds_and_formats_are_read(key: Key, form: PrivateFormat) -> None:
    if form is PrivateFormat.TraditionalOpenSSL and isinstance(key, ed25519.Ed25519PrivateKey):
        form = PrivateFormat.PKCS8
    text = text_of(key, form)
    assert read_private_key(text, None).can_sign()
    # Pasted text loses its last line break, or gains some.
    assert read_private_key(f"\n{text.strip()}", None).can_sign()


@pytest.mark.parametrize("form", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8], ids=str)
def test_encrypted_keys_are_read(form: PrivateFormat) -> None:
    assert read_private_key(text_of(ED25519, form, "päss phrase"), "päss phrase").can_sign()


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END", "ssh-rsa AAAA"])
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(SourceRefusedError, match="PRIVATE_KEY") as caught:
        read_private_key(text, None)
    assert "AAAA" not in str(caught.value)


FORMS = [PrivateFormat.OpenSSH, PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL]


@pytest.mark.parametrize(("passphrase", "why"), [(None, "it is encrypted: set PASSPHRASE"), ("no", "does not open it")])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_wrong_and_a_missing_passphrase_are_told_apart(form: PrivateFormat, passphrase: str | None, why: str) -> None:
    with pytest.raises(SourceRefusedError, match=f"PRIVATE_KEY.*{why}"):
        read_private_key(text_of(RSA, form, "right"), passphrase)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_passphrase_that_no_key_asks_for_does_no_harm(form: PrivateFormat) -> None:
    assert read_private_key(text_of(RSA, form), "unasked").can_sign()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/home/me/.ssh/id_ed25519", "the path of a file"),
        ("~/.ssh/id_rsa", "the path of a file"),
        ("./key.pem", "the path of a file"),
        (r"C:\Users\me\key.pem", "the path of a file"),
        ("keys/radar.pem", "the path of a file"),
        ("ssh-ed25519 AAAA me@here", "a public key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA", "a public key"),
        ("PuTTY-User-Key-File-3: ssh-ed25519", "PuTTY's format"),
        ("c2VjcmV0", "the whole text of the key's file"),
    ],
)
def test_what_is_no_private_key_is_called_what_it_is(text: str, why: str) -> None:
    assert why in (private_key_problem(text, None) or "")


def test_a_kind_of_key_that_servers_refuse_is_refused() -> None:
    key = dsa.generate_private_key(1024)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(SourceRefusedError, match="RSA, ECDSA or Ed25519"):
        read_private_key(text, None)


@pytest.mark.parametrize(
    "line",
    ["{key}", "{key} root@host", "host,1.2.3.4 {key}", "[host]:2222 {key} comment", "|1|c2FsdA==|aGFzaA== {key}"],
)
def test_host_keys_are_found_wherever_they_stand(line: str) -> None:
    assert HostKeys(f"# comment\n\n{line.format(key=make_ssh_key().public)}\n").algorithms == ("ssh-ed25519",)


def test_a_host_key_of_a_kind_that_nobody_uses_any_more_is_passed_over() -> None:
    dss = "ssh-dss AAAAB3NzaC1kc3MAAAABAQAAAAEB"
    assert HostKeys(f"host {dss}\nhost {make_ssh_key().public}").algorithms == ("ssh-ed25519",)
    with pytest.raises(SourceRefusedError, match="HOST_KEY"):
        HostKeys(dss)


def test_rsa_host_keys_are_asked_for_with_modern_signatures() -> None:
    key = read_private_key(text_of(RSA, PrivateFormat.OpenSSH), None)
    keys = HostKeys(f"host ssh-rsa {key.get_base64()}")
    assert keys.algorithms == ("rsa-sha2-512", "rsa-sha2-256")
    assert key in keys


@pytest.mark.parametrize("text", ["", "# only a comment", "ssh-ed25519", "ssh-ed25519 AAAA", "host", "SHA256:abcdef"])
def test_without_a_host_key_there_is_no_connection(text: str) -> None:
    with pytest.raises(SourceRefusedError, match="HOST_KEY"):
        HostKeys(text)


@pytest.mark.parametrize("mark", ["@revoked", "@cert-authority"])
def test_lines_for_other_purposes_pin_nothing(mark: str) -> None:
    with pytest.raises(SourceRefusedError, match="HOST_KEY"):
        HostKeys(f"{mark} * {make_ssh_key().public}")
