"""The page of limits agrees with the code."""

import json
import re

from config.settings import FLAT, PER_SOURCE
from local.limits_page import PAGE, page
from ops.health.limits import LIMITS
from preprocess.model import Limits
from tests.fixtures.fake_tools import PROJECT


def test_the_page_is_the_one_that_the_code_makes() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m local.limits_page"


def test_every_setting_that_it_names_is_one() -> None:
    settings = {limit.setting for limit in LIMITS.values()} | {*re.findall(r"`([A-Z]+_[A-Z_]+)`", page())}
    flat = {name for name in settings if name and not name.startswith("SOURCES__")}
    assert flat <= {*FLAT}
    assert {name.rpartition("__")[2] for name in settings if name.startswith("SOURCES__")} <= {*PER_SOURCE}
    assert {f"LIMIT_{name.upper()}" for name in Limits.__dataclass_fields__} <= flat


def test_what_it_says_of_the_host_is_in_its_file() -> None:
    host = json.loads((PROJECT / "host.json").read_text())
    assert "| 30 min | functionTimeout in host.json |" in page()
    assert host["functionTimeout"] == "00:30:00"
    assert f"| {host['extensions']['queues']['maxDequeueCount']} | maxDequeueCount in host.json |" in page()
