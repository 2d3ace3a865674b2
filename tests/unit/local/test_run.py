"""The running system's settings, as a shell reads them, and a developer's own settings."""

import json
import stat
import subprocess
from pathlib import Path

import pytest

from config.errors import SettingsError
from local.run import own_settings, write_environment

SETTINGS = {
    "DATA_STORAGE": "AccountName=a;AccountKey=k==;BlobEndpoint=http://127.0.0.1:1/a",
    "SOURCES__NORTH__PRIVATE_KEY": "-----BEGIN KEY-----\nab'c $HOME `x`\n-----END KEY-----\n",
}


def test_a_shell_reads_the_settings_as_they_are(tmp_path: Path) -> None:
    # A variable of the host that no shell can have must not prevent the others.
    write_environment(tmp_path / "env", {"AzureWebJobs.process_batch.Disabled": "true", **SETTINGS})

    for name, value in SETTINGS.items():
        script = f'. "{tmp_path}/env" && printf %s "${name}"'
        assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == value


def test_nobody_else_can_read_the_secrets(tmp_path: Path) -> None:
    write_environment(tmp_path / "env", SETTINGS)

    assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600


def written(folder: Path, values: dict[str, str]) -> Path:
    file = folder / "local.settings.json"
    file.write_text(json.dumps({"IsEncrypted": False, "Values": values}))
    return file


OWN = {"SOURCES__RADAR__URL": "ftp://host.example/out", "PREPROCESS_WIDTH": "64"}


def test_a_developers_own_settings_are_taken_but_for_their_storage(tmp_path: Path) -> None:
    elsewhere = {"DATA_STORAGE": "AccountKey=x", "DATA_STORAGE__clientId": "y", "AzureWebJobsStorage": "z"}
    assert own_settings(written(tmp_path, OWN | elsewhere)) == OWN


def test_an_empty_setting_leaves_the_default_in_place(tmp_path: Path) -> None:
    assert own_settings(written(tmp_path, OWN | {"POLL_SCHEDULE": "", "PREPROCESS_HOOK": " "})) == OWN


def test_without_a_file_there_are_no_own_settings(tmp_path: Path) -> None:
    assert own_settings(tmp_path / "local.settings.json") == {}


def test_own_settings_without_a_source_are_for_the_sample_servers(tmp_path: Path) -> None:
    assert own_settings(written(tmp_path, {"PREPROCESS_WIDTH": "64"})) == {"PREPROCESS_WIDTH": "64"}


def test_wrong_own_settings_are_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="PREPROCESS_WITDH is unknown: did you mean PREPROCESS_WIDTH"):
        own_settings(written(tmp_path, OWN | {"PREPROCESS_WITDH": "1"}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"PREPROCESS_HOOK": "hooks_of_nobody:stretch"}, "PREPROCESS_HOOK=hooks_of_nobody:stretch: cannot import"),
        ({"SOURCES__RADAR__STAMP": "radar_%q"}, "STAMP 'radar_%q': %q is unknown"),
    ],
)
def test_what_only_a_call_would_meet_is_told_before_anything_starts(
    wrong: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        own_settings(written(tmp_path, OWN | wrong))


@pytest.mark.parametrize("text", ["[", "[]", '{"Values": []}', "{}"])
def test_a_file_that_holds_no_settings_is_told_by_its_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "local.settings.json").write_text(text)
    with pytest.raises(SettingsError, match=r"local\.settings\.json"):
        own_settings(tmp_path / "local.settings.json")
