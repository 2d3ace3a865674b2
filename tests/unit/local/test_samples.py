"""The demo's zips: the same specification gives the same bytes, and the manifest is correct."""

import hashlib
import io
import os
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, ImageSequence

from local import formats, sample_specs, samples
from local.sample_specs import ImageSpec, SampleSpec
from local.samples import Sample


def _spec(*names: str, size: tuple[int, int] = (320, 240), frames: int = 1, damage: str = "") -> SampleSpec:
    specs = [ImageSpec(photograph="coffee.png", size=size, format=name, frames=frames, damage=damage) for name in names]
    return SampleSpec(seed=1, images=tuple(specs))


def _decoded(sample: Sample) -> dict[tuple[int, int], Image.Image]:
    """Every image of a zip in colour, upright, by member and frame."""
    images = {}
    with zipfile.ZipFile(sample.path) as bundle:
        for member, name in enumerate(bundle.namelist()):
            opened = Image.open(io.BytesIO(bundle.read(name)))
            for frame, picture in enumerate(ImageSequence.Iterator(opened)):
                if picture.mode.startswith("I"):
                    picture = Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
                images[member, frame] = ImageOps.exif_transpose(picture).convert("RGB")
    return images


def test_the_same_order_gives_the_same_bytes(tmp_path: Path) -> None:
    spec = sample_specs.small(7, images=2)

    once, again = samples.make(spec, tmp_path / "a"), samples.make(spec, tmp_path / "b")

    assert once.path.read_bytes() == again.path.read_bytes()
    assert once.sha256 == again.sha256


def test_another_seed_gives_other_bytes(tmp_path: Path) -> None:
    assert (
        samples.make(sample_specs.small(7, images=1), tmp_path).sha256
        != samples.make(sample_specs.small(8, images=1), tmp_path).sha256
    )


def test_a_sample_is_made_once_and_then_taken_from_the_cache(tmp_path: Path) -> None:
    spec = _spec("jpeg")
    made = samples.make(spec, tmp_path).path
    written = made.stat().st_mtime_ns

    assert samples.make(spec, tmp_path).path == made
    assert made.stat().st_mtime_ns == written


@pytest.mark.parametrize("name", formats.FORMATS)
def test_what_is_expected_of_a_picture_is_what_its_file_shows(name: str, tmp_path: Path) -> None:
    sample = samples.make(_spec(name), tmp_path)

    (image,) = _decoded(sample).values()

    assert _difference(image, sample) < 3


def _difference(image: Image.Image, sample: Sample) -> float:
    fitted = ImageOps.fit(image, (sample.side, sample.side), Image.Resampling.LANCZOS)
    return float(np.abs(samples.colour_grid(np.asarray(fitted)).astype(int) - sample.pictures[0].colours).mean())


def test_what_is_expected_is_drawn_at_the_size_that_was_asked_for(tmp_path: Path) -> None:
    small, large = (samples.make(_spec("png"), tmp_path, side) for side in (32, 224))
    (image,) = _decoded(small).values()

    assert _difference(image, small) == _difference(image, large) == 0
    assert small.sha256 == large.sha256
    assert not np.array_equal(small.pictures[0].colours, large.pictures[0].colours)


def test_frames_of_one_file_are_pictures_of_their_own(tmp_path: Path) -> None:
    sample = samples.make(_spec("gif", "tiff-lzw", frames=3), tmp_path)

    places = [(picture.member, picture.frame) for picture in sample.pictures]

    assert places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert places == list(_decoded(sample))
    assert not np.array_equal(sample.pictures[0].colours, sample.pictures[1].colours)


def test_sixteen_bits_are_used_to_the_full(tmp_path: Path) -> None:
    sample = samples.make(_spec("png-16", "tiff-16"), tmp_path)

    with zipfile.ZipFile(sample.path) as bundle:
        for name in bundle.namelist():
            pixels = np.asarray(Image.open(io.BytesIO(bundle.read(name))))
            assert pixels.dtype == np.uint16
            assert pixels.max() > 200 * 257


def test_samples_that_another_version_made_are_removed_once_nobody_uses_them(tmp_path: Path) -> None:
    long_ago = time.time() - 2 * 86_400
    for name in ("old", "young"):
        (tmp_path / name / "sub").mkdir(parents=True)
    os.utime(tmp_path / "old", (long_ago, long_ago))

    made = samples.make(_spec("jpeg"), tmp_path).path
    assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted([made.parent.name, "young"])

    os.utime(made.parent, (long_ago, long_ago))
    samples.make(_spec("jpeg"), tmp_path)
    assert made.parent.stat().st_mtime > long_ago, "whoever uses it keeps it"


def test_damaged_members_are_refused_and_expected_nowhere_else(tmp_path: Path) -> None:
    sample = samples.make(sample_specs.broken(), tmp_path)

    assert sample.refused == (1, 4)
    assert not {picture.member for picture in sample.pictures} & {1, 4}
    assert sample.skipped == 4
    with zipfile.ZipFile(sample.path) as bundle:
        names = bundle.namelist()
        with pytest.raises(OSError, match="truncated"):
            Image.open(io.BytesIO(bundle.read(names[1]))).load()
        with pytest.raises(zipfile.BadZipFile, match="CRC"):
            bundle.read(names[4])


def test_the_large_archive_is_well_over_fifty_megabytes_by_its_order() -> None:
    spec = sample_specs.large()

    uncompressed = [image for image in spec.images if image.format == "tiff"]

    assert len(spec.images) == 20
    assert sum(3 * image.size[0] * image.size[1] for image in uncompressed) > 30e6
    assert all(image.size == (4000, 3000) for image in spec.images if image.format != "png")


def test_a_run_that_broke_off_leaves_nothing_that_counts_as_made(tmp_path: Path) -> None:
    spec = _spec("jpeg")
    made = samples.make(spec, tmp_path)
    good = made.path.read_bytes()
    made.path.write_bytes(b"half")
    made.path.with_suffix(".json").unlink()

    assert samples.make(spec, tmp_path).path.read_bytes() == good


def test_two_that_make_the_same_sample_at_once_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    spec = _spec("jpeg", "png")
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: samples.make(spec, tmp_path), range(4)))
    assert len({sample.sha256 for sample in made}) == 1
    assert hashlib.sha256(made[0].path.read_bytes()).hexdigest() == made[0].sha256
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name or "unfinished" in path.name]
