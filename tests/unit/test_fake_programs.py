"""The stand-in for az is as strict, and prints as az does; what az does here was tried with version 2.91.0."""

from typing import Any

import pytest

from tests.fixtures.fake_programs import Ended, as_az, as_curl, as_func

SHOW = ["group", "show", "--name", "g"]


def ask(result: Any, query: str, output: str = "tsv") -> Ended:
    return as_az([*SHOW, "--query", query, "--output", output], {"group show": [result]}, {})


@pytest.mark.parametrize(
    ("result", "query", "said"),
    [
        ({"a": None}, "a", ""),
        ({}, "nothing.below", ""),
        ({"a": True}, "a", "true\n"),
        ({"a": ""}, "a", "\n"),
        ({"a": []}, "a", ""),
        ({"a": "x", "b": ""}, "[a, b, c || '', d]", "x\n\n\nNone\n"),
        ({"a": [{"b": 1, "c": "x"}, {"b": 2, "c": None}]}, "a[].[b, c]", "1\tx\n2\tNone\n"),
        ({"a": [{"c": 1, "b": 2}]}, "a", "2\t1\n"),
        ({"a": [{"c": 1, "b": 2}]}, "a[].{c: c, b: b}", "1\t2\n"),
        ({"a": [{"b": [1, 2], "c": {"d": 1}}]}, "a[].[b, c]", "2\t\n"),
    ],
)
def test_tab_separated_values_are_written_as_az_writes_them(result: Any, query: str, said: str) -> None:
    assert ask(result, query) == Ended(out=said)


def test_json_is_sorted_and_null_is_nothing() -> None:
    assert ask({"b": 1, "a": None}, "@", "json").out == '{\n  "a": null,\n  "b": 1\n}\n'
    assert ask({"b": 1}, "a", "json").out == ""
    assert ask({"b": 1}, "b", "none").out == ""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["group", "look", "--name", "g"], "'group look' is misspelled or not recognized"),
        ([*SHOW, "--nonsense", "x"], "unrecognized arguments: --nonsense"),
        ([*SHOW, "--only-show-errors", "x"], "unrecognized arguments: x"),
        (["group", "show"], "the following arguments are required: --name"),
        (["group", "show", "--name"], "argument --name: expected"),
        ([*SHOW, "--query", "[?"], "invalid jmespath_type value"),
    ],
)
def test_a_line_that_az_does_not_take_is_refused(line: list[str], said: str) -> None:
    ended = as_az(line, {"group show": [{}]}, {})
    assert (ended.status, ended.out) == (2, "")
    assert said in ended.err


def test_a_query_without_an_answer_is_a_fault_of_the_test() -> None:
    assert as_az([*SHOW, "--query", "name"], {}, {}).status == 99


def test_options_tell_calls_apart_and_answers_come_in_order() -> None:
    script = {"group show --name other": [{"name": "other"}], "group show": [{"name": "first"}, {"name": "then"}]}
    answered: dict[str, int] = {}
    names = [as_az([*SHOW, "--query", "name", "--output", "tsv"], script, answered).out for _ in range(3)]
    assert names == ["first\n", "then\n", "then\n"]
    assert as_az(["group", "show", "--name", "other", "--query", "name"], script, answered).out == '"other"\n'


def test_func_and_curl_take_only_the_options_that_they_have() -> None:
    assert as_func(["azure", "functionapp", "publish", "app", "--python", "--build", "remote"], Ended()).status == 0
    assert as_func(["azure", "functionapp", "publish", "app", "--patient"], Ended()).status == 1
    assert as_func(["azure", "functionapp", "delete", "app"], Ended()).status == 1
    assert as_curl(["--silent", "--write-out", "%{http_code}", "https://x"], 0) == Ended(7, out="000")
    assert as_curl(["--loud", "https://x"], 200).status == 2
