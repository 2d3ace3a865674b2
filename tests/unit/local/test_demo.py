"""The demo's output and its effects on the servers: uploads, lines, the contact sheet."""

import io
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ingest.model import RemoteFile, version_of
from local.demo.contact_sheet import COLUMNS, TILE, Tile, draw
from local.demo.progress import Line, Progress, lines
from local.demo.traffic import Arrival, Drop, upload, uploads
from local.demo.view import LiveView, PlainView, view
from local.samples import Sample

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    path = tmp_path / "cached.zip"
    path.write_bytes(bytes(range(256)) * 40)
    return Sample(path=path, size=10_240, sha256="", pictures=(), refused=(), skipped=0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    return folder


def drop(sample: Sample, name: str = "a.zip", **how: object) -> Drop:
    return Drop(source="north", name=name, sample=sample, after=0, **{"lasts": 0.0, **how})  # type: ignore[arg-type] # test data


def line(sample: Sample, progress: Progress, name: str = "a.zip") -> Line:
    return Line(arrival=Arrival(drop=drop(sample, name), arrived=NOON, version="v1"), progress=progress)


DONE = Progress(
    seen=NOON + timedelta(seconds=1),
    copying=NOON + timedelta(seconds=2),
    raw=NOON + timedelta(seconds=4),
    processing=NOON + timedelta(seconds=5),
    processed=NOON + timedelta(seconds=10),
    images=10,
    refused=2,
)


class Watched(threading.Event):
    """Looks into the folder whenever the uploader pauses."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.seen: list[dict[str, int]] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seen.append({file.name: file.stat().st_size for file in self._folder.iterdir()})
        return self.is_set()


def test_a_careful_upload_has_its_own_name_only_when_it_is_whole(sample: Sample, root: Path) -> None:
    watched = Watched(root)

    arrival = upload(drop(sample), root, watched)

    assert all(list(seen) == ["a.zip.part"] for seen in watched.seen)
    assert [file.name for file in root.iterdir()] == ["a.zip"]
    assert (root / "a.zip").read_bytes() == sample.path.read_bytes()
    assert arrival is not None


def test_a_careless_upload_grows_in_place(sample: Sample, root: Path) -> None:
    watched = Watched(root)

    upload(drop(sample, how="growing"), root, watched)

    sizes = [seen["a.zip"] for seen in watched.seen]
    assert sizes == sorted(set(sizes))
    assert len(sizes) > 5
    assert (root / "a.zip").read_bytes() == sample.path.read_bytes()


def test_an_arrival_has_the_version_that_a_listing_gives(sample: Sample, root: Path) -> None:
    arrival = upload(drop(sample), root, threading.Event())

    modified = datetime.fromtimestamp(int((root / "a.zip").stat().st_mtime), UTC)
    assert arrival is not None
    assert arrival.version == version_of(RemoteFile(path="a.zip", size=10_240, modified=modified))


def test_uploads_happen_in_the_background_and_stop_with_the_block(sample: Sample, root: Path) -> None:
    arrived: list[str] = []
    uploaded = threading.Event()

    def note(arrival: Arrival) -> None:
        arrived.append(arrival.drop.name)
        uploaded.set()

    later = Drop(source="north", name="b.zip", sample=sample, after=3600)
    with uploads([drop(sample), later], lambda _: root, note):
        assert uploaded.wait(10)

    assert arrived == ["a.zip"]
    assert not (root / "b.zip").exists()


def test_rates_and_lags_come_from_the_ledgers_times(sample: Sample) -> None:
    done = line(sample, DONE)

    assert (done.lag, done.image_rate) == (10.0, 2.0)


def test_a_copys_rate_is_told_where_it_means_something_and_leaves_out_what_came_before_the_first_block(
    sample: Sample,
) -> None:
    assert line(sample, DONE).copy_rate is None
    large = line(replace(sample, size=5 * 4 * 2**20), DONE)
    assert large.copy_rate == 4 * 4 * 2**20 / 2.0


def test_an_archive_that_storage_does_not_know_yet_has_a_line(sample: Sample) -> None:
    arrival = Arrival(drop=drop(sample), arrived=NOON, version="v1")

    (archive,) = lines([arrival], {})

    assert archive.progress == Progress()
    assert (archive.lag, archive.copy_rate, archive.image_rate) == (None, None, None)


def printed(*shown: Line) -> list[str]:
    out = io.StringIO()
    with view(Console(file=out, width=200), lambda: 1.5) as plain:
        assert isinstance(plain, PlainView)
        for archive in shown:
            plain.show([archive])
    return out.getvalue().splitlines()


def test_without_a_terminal_each_step_is_one_line_once(sample: Sample) -> None:
    done = line(sample, DONE)

    printed_lines = printed(line(sample, Progress()), done, done)

    assert [text.split()[4] for text in printed_lines] == ["arrived", "found", "copied", "preprocessed", "readable"]
    assert printed_lines[3].endswith("10 images (2 refused) 2.0/s")
    assert printed_lines[4].endswith("10.0 s")


def test_an_archive_that_failed_says_why(sample: Sample) -> None:
    assert "failed: tries are spent" in printed(line(sample, Progress(ended="failed: tries are spent")))[-1]


def test_in_a_terminal_every_archive_has_one_line(sample: Sample) -> None:
    out = io.StringIO()
    console = Console(file=out, width=160, force_terminal=True)

    with view(console, lambda: 1.5) as shown:
        assert isinstance(shown, LiveView)
        shown.show([line(sample, DONE, "first [x].zip"), line(sample, Progress(), "second.zip")])

    last = out.getvalue().rsplit("archives arrived", 1)[-1]
    assert last.count("first [x].zip") == 1
    assert "10 images (2 refused) 2.0/s" in last
    assert last.count("second.zip") == 1


def tile(value: int = 90, archive: str = "a.zip") -> Tile:
    pixels = np.full((TILE, TILE, 3), (value, 10, 20), np.uint8)
    return Tile(pixels=pixels, source="north", archive=archive, member="DCIM/a.jpg", lag=1.0)


def test_a_contact_sheet_shows_every_picture_unchanged() -> None:
    contact_sheet = np.asarray(draw([tile(value) for value in range(60, 60 + COLUMNS + 1)], "title", "subtitle"))

    for value in range(60, 60 + COLUMNS + 1):
        assert (contact_sheet == (value, 10, 20)).all(axis=2).sum() > 0.99 * TILE**2


def test_a_contact_sheet_has_a_row_for_each_six_pictures() -> None:
    single, six, seven = (draw([tile()] * number, "t", "s") for number in (1, COLUMNS, COLUMNS + 1))

    assert single.size == six.size
    assert seven.width == six.width
    assert seven.height > six.height + TILE


def test_captions_of_any_length_and_script_stay_within_their_tile() -> None:
    short, long = (draw([tile(archive=name)], "t", "s") for name in ("a.zip", "Südkai № 3 雨 " * 20))

    beyond = 40 + TILE
    assert np.array_equal(np.asarray(short)[:, beyond:], np.asarray(long)[:, beyond:])
