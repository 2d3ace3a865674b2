"""Bicep files against checkov's policies; each accepted finding has its reason beside the resource."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from local.servers.needed import ProgramMissingError

ROOT = Path(__file__).parents[2]
CHECKOV = ROOT / ".local/checkov/bin/checkov"


@pytest.mark.timeout(300)  # loading takes 20 seconds, more on a busy machine
def test_checkov_finds_nothing_that_was_not_accepted() -> None:
    if not CHECKOV.exists():
        raise ProgramMissingError("checkov", "sh infra/setup-checkov.sh")
    command = [str(CHECKOV), "--directory", "infra", "--framework", "bicep", "--output", "json", "--skip-download"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    failed = [f"{c['check_id']} {c['file_path']}: {c['check_name']}" for c in report["results"]["failed_checks"]]
    assert (failed, report["results"]["parsing_errors"]) == ([], [])
    assert report["summary"]["passed"] > 20, "checkov must have looked at the files"


def test_every_accepted_finding_has_a_reason() -> None:
    for path in (ROOT / "infra").rglob("*.bicep"):
        for reason in re.findall(r"checkov:skip=\w+(.*)", path.read_text()):
            assert len(reason) > 20, f"{path.name}: {reason}"
