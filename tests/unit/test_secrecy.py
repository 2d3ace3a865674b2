"""The guard over all tests bites: who gives a secret away, or lets a stranger's name forge a log line, fails."""

import os
import subprocess
import sys
from pathlib import Path

from local.system import PROJECT

TESTS = """
import logging, sys
from storage.clients import DEVELOPMENT_KEY, development_connection

def test_prints_a_password(): print("logged in with s3cret-1234")
def test_writes_a_key_to_stderr(): print("-----BEGIN OPENSSH PRIVATE KEY-----", file=sys.stderr)
def test_logs_the_account_key(): logging.getLogger("azure.core").info("key %s", DEVELOPMENT_KEY)
def test_logs_a_connection_string(): logging.getLogger("ingestion.storage").debug(development_connection({}))
def test_logs_a_signed_url(): logging.getLogger("azure").info("GET http://127.0.0.1/raw/a.zip?sv=1&sig=abc")
def test_logs_a_forged_line(): logging.getLogger("ingestion.ingest.poll").info("path=%s", "a\\nERROR all is lost")
def test_logs_a_terminal_code(): logging.getLogger("ingestion.preprocess.work").info("name=%s", "\\x1b[2J")

def test_is_discreet():
    print("logged in")
    logging.getLogger("ingestion.ingest.poll").info("path=%r", "a\\nb")
    logging.getLogger("ingestion.storage").warning("no key for %s", "http://127.0.0.1/raw?comp=list")
"""


def test_only_the_discreet_pass(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    # Not in this process: what these tests print would be held against this one.
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.fixtures.secrecy", "-o", "log_level=INFO"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "7 failed, 1 passed" in done.stdout
    told = (
        "a password",
        "a private key",
        "account's key",
        "a connection string",
        "a signed request",
        "ingest.poll logged",
    )
    assert all(text in done.stdout for text in told)
