"""`make run` reports each archive's outcome once, when it is reached."""

from datetime import UTC, datetime, timedelta

from imagefeed.model import Refusal, State
from ingest.model import SourceState
from local.completions import Completions
from storage.clients import Clients
from tests.fixtures.history import Past, write

NOW = datetime.now(UTC).replace(microsecond=0)
REFUSED = Refusal(member=7, name="x.jpg", reason="it is no picture", error="OSError")


def test_each_end_is_told_once_and_none_of_an_earlier_run(clients: Clients, source: str) -> None:
    write(clients, source, [Past(stamp=NOW - timedelta(hours=1))], SourceState(source=source))
    completions = Completions(clients, [source])
    assert list(completions.news()) == []
    later = [
        Past(stamp=NOW, path="a\u202e.zip", images=4, refused=[REFUSED]),
        Past(stamp=NOW + timedelta(minutes=1), path="b.zip", images=1),
        Past(stamp=NOW + timedelta(minutes=2), state=State.REFUSED, path="c.zip", reason="its directory is cut"),
        Past(stamp=NOW + timedelta(minutes=3), state=State.EXPIRED, path="d.zip"),
        Past(stamp=NOW + timedelta(minutes=4), state=State.RAW, path="e.zip"),
    ]
    write(clients, source, later, SourceState(source=source))
    news = list(completions.news())
    assert [line[10:] for line in news] == [
        f"{source}: a\N{REPLACEMENT CHARACTER}.zip is readable after 6.0 s, 4 images, 1 member refused",
        f"{source}: b.zip is readable after 6.0 s, 1 image",
        f"{source}: c.zip is refused: its directory is cut",
        f"{source}: d.zip is expired: no longer on the server",
    ]
    assert news[0].startswith(f"{NOW + timedelta(seconds=6):%H:%M:%S}  ")
    assert list(completions.news()) == []
