"""Queries: valid by Microsoft's own language service, each one used, and only about data that the app sends."""

import json
import re
from typing import Any

import pytest

from config import telemetry
from ops.health.findings import Slug
from tests.infra.queries import ALERTS, INFRA, QUERIES, WORKBOOK, WRONG, judged, put_in

ROOT = INFRA.parent
METRIC = re.compile(r"'([a-z_]+(?:\.[a-z_]+)+)'")
PAGE = json.loads((INFRA / "workbook.json").read_text())


def loaded(bicep: str) -> list[str]:
    return re.findall(r"loadTextContent\('\.\./queries/([^']+)'\)", bicep)


def by_hand(page: str) -> set[str]:
    """Queries that a page runs."""
    return set(re.findall(r"infra/queries/([\w-]+\.kql)", (ROOT / page).read_text()))


def contents() -> list[dict[str, Any]]:
    """Yield all parts of the workbook that run a query."""
    steps = [item["content"] for item in PAGE["items"]]
    return [asks for step in steps for asks in [step, *step.get("parameters", [])] if "query" in asks]


@pytest.mark.parametrize("name", QUERIES)
def test_the_language_service_finds_nothing_wrong_with_a_query_wherever_it_is_asked(name: str) -> None:
    assert {asked: judged()[asked].said for asked in (name, f"alert {name}", f"workbook {name}")} == {
        name: (),
        f"alert {name}": (),
        f"workbook {name}": (),
    }


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found(name: str) -> None:
    assert WRONG[name] not in QUERIES.values()
    assert any(line.startswith("Error: ") for line in judged()[name].said)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_says_first_what_it_answers(name: str) -> None:
    assert re.match(r"// [A-Z].*\?.*\n", QUERIES[name])


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_asks_only_for_what_the_app_tells(name: str) -> None:
    text = QUERIES[name]
    metrics = set(METRIC.findall(text))
    assert metrics <= telemetry.METRICS.keys()
    about = [telemetry.METRICS[metric] for metric in metrics] or list(telemetry.METRICS.values())
    recorded = {label for metric in about for label in metric.dimensions}
    # Spans record these, telemetry.span's own arguments.
    recorded |= {"source", "archive", "blob"} if "AppDependencies" in text else set()
    assert set(re.findall(r"Properties\.(\w+)", text)) <= recorded


def test_every_metric_is_asked_for() -> None:
    asked = {metric for text in QUERIES.values() for metric in METRIC.findall(text)}
    assert asked == telemetry.METRICS.keys()


def test_log_lines_are_read_as_they_are_written() -> None:
    parsed = r"parse Message with '(\S+)' Slug '( \S+=)' Source '( \S+=)' From '( \S+=)' To '( \S+=)' \*"
    (line,) = re.findall(parsed, QUERIES["gaps.kql"])
    assert "%s".join(line) in (ROOT / "ops/health/watch.py").read_text()
    slugs = re.findall(r"startswith 'finding\.(\S+) '", QUERIES["gaps.kql"])
    assert slugs == [Slug.GAP, Slug.GAP_CLOSED]
    (line,) = re.findall(r"startswith '(\S+ \S+=)'", QUERIES["not-running.kql"])
    assert f'"{line}%s ' in (ROOT / "bootstrap.py").read_text()
    lines = re.findall(r"startswith '(\S+ \S+=)'", QUERIES["lost-results.kql"])
    assert len(lines) == 2
    assert [line for line in lines if f'"{line}%s ' not in (ROOT / "preprocess/recovery/repair.py").read_text()] == []


def test_every_query_is_used_and_every_file_that_is_used_exists() -> None:
    shown = {content["query"] for content in contents()}
    assert set(loaded(WORKBOOK)) == shown
    assert set(loaded(WORKBOOK)) | set(loaded(ALERTS)) | by_hand("docs/deploy.md") == QUERIES.keys()


def test_the_workbook_gives_each_query_under_its_own_name() -> None:
    named = re.findall(r"^  '(\S+)': loadTextContent\('\.\./queries/(\S+)'\)$", WORKBOOK, re.MULTILINE)
    assert named
    assert all(name == file for name, file in named)


def test_what_the_workbook_puts_into_a_query_has_a_place_there() -> None:
    text = "".join(QUERIES.values())
    assert [old for old in put_in() if old not in text] == []
    # Every `let` with a comment behind it is a parameter, and each has one.
    taken = {line for query in QUERIES.values() for line in re.findall(r"^(let .*;) // ", query, re.MULTILINE)}
    assert [line for line in taken if not any(old in line for old in put_in())] == []


def test_the_list_of_sources_can_stand_in_json_with_its_line_ends_escaped_alone() -> None:
    assert not set('"\\\t') & set(QUERIES["source-names.kql"])


def test_parameters_of_the_workbook_are_those_that_it_has() -> None:
    parameters = next(item for item in PAGE["items"] if item["type"] == 9)["content"]["parameters"]
    names = {parameter["name"] for parameter in parameters}
    used = {name for new in put_in().values() for name in re.findall(r"\{(\w+)", new)}
    assert used | {content["timeContextFromParameter"] for content in contents()} == names


@pytest.mark.parametrize("content", [c for c in contents() if "chartSettings" in c], ids=lambda c: str(c["title"]))
def test_a_chart_draws_columns_that_its_query_gives(content: dict[str, Any]) -> None:
    settings = content["chartSettings"]
    assert {settings["xAxis"], *settings["yAxis"], settings["group"]} <= judged()[content["query"]].columns.keys()


@pytest.mark.parametrize("page", ["docs/telemetry.md", "docs/deploy.md"])
def test_queries_that_a_page_runs_exist(page: str) -> None:
    assert set() < by_hand(page) <= QUERIES.keys()
