"""App settings become values, and one error names all missing and wrong ones."""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import SettingsError
from config.schedules import longest_pause
from config.settings import FLAT, PER_SOURCE, environment, read_pipeline, read_settings, read_specs, settings
from imagefeed.durations import format_duration, parse_duration
from local.docs import default_text

ROOT = Path(__file__).parents[3]
KEY = f"ssh-ed25519 {b64encode(b'\0\0\0\x0bssh-ed25519\0\0\0\x20' + bytes(range(32))).decode()}"
"""An id that belongs to no user, and is the same in every process."""
BEGIN = "-----BEGIN PRIVATE KEY-----"
LEAST = {
    "DATA_STORAGE": "UseDevelopmentStorage=true",
    "SOURCES__RADAR__URL": "sftp://us%40er@host.example/out%20going",
    "SOURCES__RADAR__HOST_KEY": KEY,
    "SOURCES__RADAR__PASSWORD": "open-sesame-7",
}


def problems(changes: Mapping[str, str], *, without: str = "") -> str:
    environ = {name: value for name, value in {**LEAST, **changes}.items() if name != without}
    with pytest.raises(SettingsError) as caught:
        read_settings(environ)
    return str(caught.value)


def test_the_least_that_must_be_set_is_enough() -> None:
    source = read_settings(LEAST).sources["radar"]
    assert (source.endpoint.scheme, source.endpoint.host, source.endpoint.port) == ("sftp", "host.example", 22)
    assert (source.endpoint.user, source.endpoint.folder) == ("us@er", "/out going")
    assert (source.spec.name, source.spec.interval) == ("radar", timedelta(minutes=10))


def test_one_error_names_everything_that_is_missing_or_wrong() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"SOURCES__RADAR__URL": "sftp://host", "PREPROCESS_FIT": "squeeze", "LIMIT_PIXELS": "-1"})
    message = str(caught.value)
    for name in (
        "DATA_STORAGE",
        "SOURCES__RADAR__HOST_KEY",
        "SOURCES__RADAR__PASSWORD",
        "PREPROCESS_FIT",
        "LIMIT_PIXELS",
    ):
        assert name in message
    assert "stretch, contain, cover, none" in message


def test_several_problems_have_a_line_each_and_a_single_one_has_none() -> None:
    first, *others = problems({"PREPROCESS_FIT": "squeeze", "LIMIT_PIXELS": "-1"}).splitlines()
    assert first == "settings:"
    assert [line.split()[0] for line in others] == ["PREPROCESS_FIT", "LIMIT_PIXELS"]
    assert len(problems({"LIMIT_PIXELS": "-1"}).splitlines()) == 1


def test_no_source_at_all_is_said() -> None:
    with pytest.raises(SettingsError, match="no source"):
        read_settings({"DATA_STORAGE": "x"})


@pytest.mark.parametrize(
    "twin",
    ["AzureWebJobsDATA_STORAGE", "AZUREWEBJOBSDATA_STORAGE__queueServiceUri", "ConnectionStrings__DATA_STORAGE",
     "ConnectionStrings__AzureWebJobsDATA_STORAGE"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["UseDevelopmentStorage=true", ""])
def test_a_setting_that_the_triggers_would_read_in_place_of_ours_is_an_error(twin: str, value: str) -> None:
    assert f"{twin} must not be set" in problems({twin: value})


@pytest.mark.parametrize("typo", ["PREPROCESS_WITDH", "SOURCES__RADAR__PASWORD", "LIMIT_PIXLES"])
def test_a_misspelt_setting_is_an_error_and_not_a_default(typo: str) -> None:
    assert f"{typo} is unknown: did you mean" in problems({typo: "1"})


@pytest.mark.parametrize(
    "typo", ["SOURCE__RADAR__URL", "SOURCES_RADAR__URL", "SOURSES__RADAR__URL", "PREPROCES_WIDTH", "LIMITS_PIXELS",
             "POLL_SCHEDULES", "DATA_STORAGES"],
)  # fmt: skip
def test_a_setting_that_is_misspelt_at_its_beginning_is_told(typo: str) -> None:
    assert f"{typo} is unknown: did you mean" in problems({typo: "1"})


def test_what_is_suggested_is_spelt_as_the_platform_wants_it() -> None:
    assert "did you mean DATA_STORAGE__blobServiceUri?" in problems(
        {"DATA_STORAGE__blobServceUri": "https://a.example"}
    )


def test_names_of_others_are_none_of_ours() -> None:
    others = (
        "SOURCE_DATE_EPOCH STORAGE_ACCOUNT PIPELINE BATCH RESOURCE__GROUP SOUTH__POLE AZURE_BATCH_SIZE "
        "WEBSITE_SITE_NAME AzureWebJobsStorage__accountName AzureFunctionsJobHost__logging__logLevel__default"
    )
    read_settings({**LEAST, **dict.fromkeys(others.split(), "1")})


def test_settings_of_others_are_none_of_our_business() -> None:
    read_settings({**LEAST, "AzureWebJobsStorage": "x", "DATA_STORAGE__credential": "managedidentity", "PATH": "/bin"})


def test_an_empty_setting_counts_as_unset() -> None:
    assert read_settings({**LEAST, "PREPROCESS_WIDTH": "", "SOURCES__RADAR__STAMP": " "}).recipe.width == 224


def test_a_key_vault_reference_that_failed_is_recognised() -> None:
    reference = "@Microsoft.KeyVault(SecretUri=https://vault.example/secrets/radar)"
    assert "Key Vault reference was not resolved" in problems({"SOURCES__RADAR__PASSWORD": reference})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SOURCES__RADAR__INTERVAL", "10 minutes"),
        ("SOURCES__RADAR__INTERVAL", "3651d"),
        ("SOURCES__RADAR__INTERVAL", "0.0s"),
        ("SOURCES__RADAR__INTERVAL", "0.0000001s"),
        ("SOURCES__RADAR__RETENTION", "0h"),
        ("SOURCES__RADAR__GAP", "1e300"),
        ("SOURCES__RADAR__TIMEOUT", "1e300"),
        ("SOURCES__RADAR__MAX_CONNECTIONS", "100000"),
        ("SOURCES__RADAR__INTERVAL", "9" * 400 + "s"),
        ("SOURCES__RADAR__TIMEZONE", "Mars/Olympus"),
        ("SOURCES__RADAR__TIMEZONE", "Antarctica"),
        ("SOURCES__RADAR__ENCODING", "utf-99"),
        ("SOURCES__RADAR__ENCODING", "rot13"),
        ("SOURCES__RADAR__GAP", "nan"),
        ("SOURCES__RADAR__BUDGET", "25m"),
        ("LIMIT_SECONDS", "600"),
        ("PREPROCESS_SCALE", "inf"),
        ("PREPROCESS_STD", "1,nan,1"),
        ("SOURCES__RADAR__MAX_CONNECTIONS", "-13"),
        ("SOURCES__RADAR__RECURSIVE", "perhaps"),
        ("SOURCES__RADAR__URL", "gopher://host/"),
        ("SOURCES__RADAR__URL", "sftp://user@host:99999/"),
        ("PREPROCESS_MEAN", "0.1;0.2"),
        ("PREPROCESS_CROP", "1,2,3"),
        ("PIPELINE_NAME", "Über"),
        ("POLL_SCHEDULE", "* * * * *"),
    ],
)
def test_a_wrong_value_is_named_and_never_repeated(name: str, value: str) -> None:
    message = problems({name: value})
    assert name in message
    assert value not in message


def test_no_pipeline_is_called_as_other_keys_begin() -> None:
    assert "and not `open`" in problems({"PIPELINE_NAME": "open"})
    assert read_settings(LEAST | {"PIPELINE_NAME": "opened"}).pipeline.name == "opened"


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ("0 0 0 * * 7", "'7' is not a weekday: it must be 0 to 6"),
        ("0 0 0 L * *", "'L' is not a day"),
        ("0 0 22-2 * * *", "'22-2' ends before it starts, .* as 2-22: write two ranges, such as 22-23,0-2"),
        ("0 0 0 31 2 *", "no date matches its day, month and weekday"),
        ("*/0 * * * * *", "'0' is not a step"),
        ("0 1/2/3 * * * *", "'2/3' is not a step"),
        ("@hourly", "six fields"),
        ("00:05:00", "six fields"),
    ],
)
@pytest.mark.parametrize("name", ["POLL_SCHEDULE", "RECONCILE_SCHEDULE"])
def test_a_schedule_that_the_trigger_refuses_or_takes_for_another_is_an_error(
    name: str, schedule: str, why: str
) -> None:
    assert re.search(f"{name} is wrong: .*{why}", problems({name: schedule}))


@pytest.mark.parametrize("schedule", ["0 0 0 29 2 *", "0 0 22-23,0-2 * jan mon-fri", "*/30 * * * * *"])
def test_a_schedule_that_the_trigger_keeps_to_is_right(schedule: str) -> None:
    assert read_settings({**LEAST, "POLL_SCHEDULE": schedule}).schedules.poll == schedule


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"PREPROCESS_CROP": "10,0,10,5"}, "PREPROCESS_CROP must be"),
        ({"PREPROCESS_CODEC": "png", "PREPROCESS_DTYPE": "float32"}, "PREPROCESS_CODEC=png holds"),
        ({"PREPROCESS_HOOK": "hooks_of_nobody:stretch"}, "PREPROCESS_HOOK=hooks_of_nobody:stretch: cannot import"),
        ({"PREPROCESS_WIDTH": "1000000"}, "PREPROCESS_WIDTH and PREPROCESS_HEIGHT"),
    ],
)
def test_a_recipe_that_cannot_work_is_in_the_one_list(wrong: dict[str, str], why: str) -> None:
    message = problems({**wrong, "LIMIT_FRAMES": "none"})
    assert why in message
    assert "LIMIT_FRAMES" in message
    with pytest.raises(SettingsError, match=why):
        read_pipeline(wrong)


def test_a_recipe_is_not_judged_by_defaults_in_place_of_what_could_not_be_read() -> None:
    message = problems({"PREPROCESS_COLOUR": "grey", "PREPROCESS_MEAN": "1,2"})
    assert "PREPROCESS_COLOUR" in message
    assert "PREPROCESS_MEAN" not in message


def test_the_app_copies_archives_although_the_hook_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**LEAST, "PREPROCESS_HOOK": "hooks_of_nobody:stretch"}.items():
        monkeypatch.setenv(name, value)
    assert list(settings.__wrapped__().sources) == ["radar"]


@pytest.mark.parametrize(
    "text",
    [
        "ssh-ed25519 AAAA", KEY[:-4], f"{KEY}AAAA", KEY.split()[0], KEY.split()[1], KEY.replace("AAAA", "A!AA", 1),
        f"# {KEY}", KEY.replace("ssh-ed25519", "ssh-rsa", 1), "ssh-dss AAAAB3NzaC1kc3MAAAABAQ==",
        f"ssh-ed25519 {b64encode(b64decode(KEY.split()[1]) + bytes([0, 0, 0, 1, 7])).decode()}",
    ],
)  # fmt: skip
def test_a_host_key_that_is_not_whole_is_an_error_that_says_what_is_right(text: str) -> None:
    message = problems({"SOURCES__RADAR__HOST_KEY": text})
    assert "SOURCES__RADAR__HOST_KEY is wrong: it must be the server's whole public key" in message
    assert "`ssh-keyscan -p 22 host.example`" in message


@pytest.mark.parametrize(
    "text", ["SHA256:" + 43 * "a", "256 SHA256:" + 43 * "a" + " root@host (ED25519)", "MD5:" + ":".join(["0f"] * 16)]
)
def test_a_fingerprint_in_place_of_a_host_key_is_called_one(text: str) -> None:
    message = problems({"SOURCES__RADAR__HOST_KEY": text, "SOURCES__RADAR__URL": "sftp://u@host.example:2222/"})
    assert "SOURCES__RADAR__HOST_KEY is wrong: it is a fingerprint" in message
    assert "`ssh-keyscan -p 2222 host.example`" in message


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("sftp://u@h/out", "/out"),
        ("sftp://u@h/~/out/going", "out/going"),
        ("sftp://u@h/~", "."),
        ("ftp://h/~/", "."),
        ("ftp://h", "."),
        ("ftp://h/%7E/out", "/~/out"),
        ("ftp://h/~user/out", "/~user/out"),
        ("ftp://h/~//out", "out"),
    ],
)
def test_a_folder_is_absolute_or_below_where_the_login_leads(url: str, folder: str) -> None:
    assert read_settings({**LEAST, "SOURCES__RADAR__URL": url}).sources["radar"].endpoint.folder == folder


@pytest.mark.parametrize("text", [KEY, f"{KEY} root@host", f"[host]:2222 {KEY}", f"# host\\nhost {KEY}\\n"])
def test_a_host_key_may_be_given_as_any_tool_prints_it(text: str) -> None:
    read_settings({**LEAST, "SOURCES__RADAR__HOST_KEY": text})


def test_a_stamp_that_names_no_time_is_an_error_at_once() -> None:
    assert "SOURCES__RADAR__STAMP is wrong" in problems({"SOURCES__RADAR__STAMP": "radar_%H%M"})
    with pytest.raises(SettingsError, match="it has no %Y"):
        read_specs({"SOURCES__RADAR__STAMP": "radar_%H%M"})


@pytest.mark.parametrize("name", ["MANUAL", "SMOKE", "SOUTH-RADAR", "R" * 33])
def test_a_name_that_would_stand_for_another_source_is_refused(name: str) -> None:
    moved = {key.replace("__RADAR__", f"__{name}__"): value for key, value in LEAST.items()}
    assert f"SOURCES__{name}: the name must be" in problems(moved)


def test_no_secret_shows_in_an_error_or_a_repr() -> None:
    secrets = {
        "DATA_STORAGE": "AccountKey=hush-1",
        "SOURCES__RADAR__PASSWORD": "hush-2",
        "SOURCES__RADAR__PRIVATE_KEY": f"{BEGIN}\nhush-3",
        "SOURCES__RADAR__PASSPHRASE": "hush-4",
    }
    assert "hush" not in repr(read_settings({**LEAST, **secrets}))
    assert "hush" not in problems({"SOURCES__RADAR__PRIVATE_KEY": "hush-3"})
    assert "hush" not in problems({**secrets, "SOURCES__RADAR__URL": "sftp://user:hush-5@host/"})


def test_sftp_without_a_host_key_is_an_error() -> None:
    assert "SOURCES__RADAR__HOST_KEY is missing" in problems({}, without="SOURCES__RADAR__HOST_KEY")


def test_underscores_in_a_source_name_become_hyphens() -> None:
    moved = {name.replace("__RADAR__", "__SOUTH_RADAR__"): value for name, value in LEAST.items()}
    assert list(read_settings(moved).sources) == ["south-radar"]


def test_a_key_on_one_line_gets_its_line_breaks_back() -> None:
    key = read_settings({**LEAST, "SOURCES__RADAR__PRIVATE_KEY": rf"{BEGIN}\nAAAA\n-----END"})
    assert key.sources["radar"].endpoint.private_key == f"{BEGIN}\nAAAA\n-----END"


@pytest.mark.parametrize("secret", [r"C:\new\n", " leading and trailing ", "tab\t", r"\n"])
def test_a_password_is_what_is_set(secret: str) -> None:
    both = {"SOURCES__RADAR__PASSWORD": secret, "SOURCES__RADAR__PASSPHRASE": secret}
    endpoint = read_settings({**LEAST, **both}).sources["radar"].endpoint
    assert endpoint.password == endpoint.passphrase == secret


def test_the_line_break_behind_a_password_in_a_file_is_none_of_it() -> None:
    read = read_settings({**LEAST, "SOURCES__RADAR__PASSWORD": "open sesame \r\n"})
    assert read.sources["radar"].endpoint.password == "open sesame "


def test_what_is_no_key_has_no_line_breaks() -> None:
    stamp = read_settings({**LEAST, "SOURCES__RADAR__PATTERN": r"\new*.zip"})
    assert stamp.sources["radar"].spec.pattern == r"\new*.zip"


def test_sources_have_encodings_of_member_names_of_their_own() -> None:
    given = {"SOURCES__NORTH_SEA__URL": "ftp://a/", "SOURCES__NORTH_SEA__MEMBER_ENCODING": "cp932"}
    assert read_settings({**LEAST, **given}).member_encodings == {"north-sea": "cp932"}
    assert "MEMBER_ENCODING is wrong: it must be a text encoding" in problems({"SOURCES__RADAR__MEMBER_ENCODING": "cp"})


@given(st.integers(min_value=0, max_value=10**6))
def test_durations_survive_being_written_and_read(seconds: int) -> None:
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        ("*/30 * * * * *", 30),
        ("0 */5 * * * *", 300),
        ("0 */7 * * * *", 420),
        ("10 3,33 * * * *", 1_800),
        ("0 5/20 * * * *", 1_200),
        ("0 0 8-17 * * *", 15 * 3_600),
        ("0 0 4 * * *", 86_400),
        ("0 0 4 * * MON", None),
        ("0 0 4 1 * *", None),
        ("0 soon * * * *", None),
        ("0 */0 * * * *", None),
        ("* * * *", None),
    ],
)
def test_the_longest_time_between_two_ticks_is_known_where_every_day_is_the_same(
    schedule: str, seconds: int | None
) -> None:
    assert longest_pause(schedule) == (None if seconds is None else timedelta(seconds=seconds))


def example_values() -> dict[str, str]:
    values: dict[str, str] = json.loads((ROOT / "local.settings.json.example").read_text())["Values"]
    return values


def documented() -> dict[str, str]:
    rows = re.findall(
        r"^\| `([A-Za-z_<>]+)` \| (?:`([^`]*)`)? *\|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE
    )
    return {name.replace("SOURCES__<NAME>__", ""): default for name, default in rows}


def test_the_example_file_holds_every_setting_with_its_default() -> None:
    ours = {name: value for name, value in example_values().items() if name not in OF_FUNCTIONS}
    wanted = {name: default_text(setting) for name, setting in FLAT.items()}
    wanted |= {f"SOURCES__RADAR__{name}": default_text(setting) for name, setting in PER_SOURCE.items()}
    wanted |= {"DATA_STORAGE": "UseDevelopmentStorage=true", "SOURCES__RADAR__URL": "sftp://user@host:22/outgoing"}
    assert ours == wanted


OF_FUNCTIONS = {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"}


def test_the_page_of_settings_has_every_setting_with_its_default() -> None:
    wanted = {name: default_text(setting) for name, setting in {**FLAT, **PER_SOURCE}.items()}
    assert documented() == {**wanted, "URL": ""}


def test_what_a_source_promises_is_read_without_any_password() -> None:
    specs = read_specs({"SOURCES__SOUTH_RADAR__INTERVAL": "5m", "SOURCES__SOUTH_RADAR__URL": "?", "DATA_STORAGE": "x"})
    assert {name: spec.interval for name, spec in specs.items()} == {"south-radar": timedelta(minutes=5)}
    assert read_specs({"PATH": "/bin"}) == {}
    with pytest.raises(SettingsError, match="SOURCES__RADAR__RETENTION is wrong"):
        read_specs({"SOURCES__RADAR__RETENTION": "soon"})


def test_a_shell_s_settings_include_what_would_stand_in_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the doctor would accept settings with which the triggers listen elsewhere."""
    monkeypatch.setenv("AzureWebJobsDATA_STORAGE", "")
    with pytest.raises(SettingsError, match="AzureWebJobsDATA_STORAGE must not be set"):
        read_settings({**LEAST, **environment()})
