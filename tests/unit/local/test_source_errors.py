"""`make run` reports why a source cannot be polled, once for each reason."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ingest.model import Outage, SourceState
from local.source_errors import SourceErrors

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DOWN = Outage(start=NOON, end=None, error="connect to \x1b[31mhost: connection refused")


@dataclass
class View:
    """A SourceStateView."""

    source_state: SourceState | None = None

    def look(self, source: str) -> SourceState | None:
        del source
        return self.source_state

    def shows(self, *outages: Outage) -> None:
        self.source_state = SourceState(source="radar", outages=outages)


def test_the_first_failed_poll_and_each_change_have_one_line() -> None:
    view = View()
    errors = SourceErrors(view, ["radar"])
    assert list(errors.news()) == []
    view.shows(DOWN)
    ((line, colour),) = errors.news()
    assert line.startswith("radar: no answer: connect to ")
    assert "\x1b" not in line
    assert colour == "red"
    assert list(errors.news()) == []
    view.shows(replace(DOWN, error="wrong password", refused=True))
    assert list(errors.news()) == [("radar: the server rejects us: wrong password", "red")]
    view.shows(replace(DOWN, end=NOON))
    assert list(errors.news()) == [("radar: it can be listed again", "green")]
    assert list(errors.news()) == []


def test_what_was_wrong_before_the_start_is_said_too() -> None:
    view = View()
    view.shows(DOWN)
    assert len(list(SourceErrors(view, ["radar"]).news())) == 1
