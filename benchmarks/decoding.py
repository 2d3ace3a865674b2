"""Benchmarks of decoding a picture file's bytes to the array for a model, per core."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import cast

import numpy as np

from benchmarks import decoders, pictures
from benchmarks.bench import Bench, benchmark
from benchmarks.child import Candidate
from benchmarks.decoders import Array, Decode
from benchmarks.model import BenchmarkError, Figure, Goal, Measured, Timing, cpu_ratio

_PLAIN = "Pillow"
_OURS = "ours"
_JPEG_PEERS: Mapping[str, Decode] = {
    "OpenCV": partial(decoders.opencv, 1),
    "OpenCV, at 1/2": partial(decoders.opencv, 2),
    "OpenCV, at 1/4": partial(decoders.opencv, 4),
    "OpenCV, at 1/8": partial(decoders.opencv, 8),
    "pyvips": decoders.pyvips,
    "simplejpeg 1×": partial(decoders.simplejpeg, 1),
    "simplejpeg 2×": partial(decoders.simplejpeg, 2),
}
_OTHER_PEERS: Mapping[str, Decode] = {"OpenCV": partial(decoders.opencv, 0), "pyvips": decoders.pyvips}
_LITTLE = 0.2
"""Of 255: a peer whose difference is larger by at most this much still counts as equal."""
_FLOOR = "the rest is libjpeg-turbo's entropy decoding, which is the same for all"


@benchmark(
    "jpeg-12mp",
    task="JPEG 12 MP → 224², per core",
    against="Pillow: full decode, LANCZOS",
    prototype="5.4–5.8, difference ≤ 0.5",
    goals={"speed": Goal(at_least=6), "difference": Goal(at_most=0.5)},
    why=_FLOOR,
)
def jpeg_12mp(bench: Bench) -> Measured:
    """Decode large JPEGs to small arrays."""
    return _beside_plain(bench, _jpegs(bench, pictures.TWELVE), 224)


@benchmark(
    "jpeg-hd",
    task="JPEG full HD → 512², per core",
    against="Pillow: full decode, LANCZOS",
    prototype="2.6, difference 0.9",
    goals={"speed": Goal(at_least=2.5), "difference": Goal(at_most=1)},
    why="of 15.5 ms per picture, Pillow's LANCZOS takes 7.6 ms, libjpeg-turbo at half the scale 6.4 ms, and our "
    "checks of the file 0.2 ms",
)
def jpeg_hd(bench: Bench) -> Measured:
    """Decode JPEGs to slightly smaller arrays."""
    return _beside_plain(bench, _jpegs(bench, pictures.FULL_HD), 512)


@benchmark(
    "jpeg-12mp-peers",
    task="JPEG 12 MP → 224², per core",
    against="the fastest of OpenCV, pyvips, simplejpeg with as small a difference",
    prototype="0.9–1.1",
    goals={"speed": Goal(at_least=1)},
    why=_FLOOR,
)
def jpeg_12mp_peers(bench: Bench) -> Measured:
    """Compare the decoding of large JPEGs with other libraries."""
    return _beside_peers(bench, _jpegs(bench, pictures.TWELVE), 224, _JPEG_PEERS)


@benchmark(
    "jpeg-hd-peers",
    task="JPEG full HD → 512², per core",
    against="the fastest of OpenCV, pyvips, simplejpeg with as small a difference",
    prototype="0.9–1.1",
    goals={"speed": Goal(at_least=1)},
    why="OpenCV averages pixels, while we use LANCZOS",
)
def jpeg_hd_peers(bench: Bench) -> Measured:
    """Compare the decoding of JPEGs with other libraries."""
    return _beside_peers(bench, _jpegs(bench, pictures.FULL_HD), 512, _JPEG_PEERS)


@benchmark(
    "png-tiff-peers",
    task="PNG 8 and 16 bit, TIFF raw, LZW, deflate, full HD → 512², per core",
    against="the faster of OpenCV, pyvips with as small a difference, per format",
    prototype="1.2–2.7 over plain Pillow; pyvips 1.3–1.9",
    goals={f"speed {form}": Goal(at_least=0.9) for form in ("png", "png-16", "tiff", "tiff-lzw", "tiff-deflate")},
    why="a PNG takes 88 ms: inflating 37, with the system's zlib, which Pillow's wheels load however they were built,"
    " unfiltering 19, LANCZOS 21; pyvips takes 52 ms, of which inflating is 26 and unfiltering 8. LANCZOS, "
    "without vector instructions, takes 18 ms of the 23 of a raw TIFF, the 49 with LZW and the 65 with deflate; "
    "pyvips takes 10.5, 44 and 44 ms in all",
)
def png_tiff_peers(bench: Bench) -> Measured:
    """Compare the decoding of formats that cannot be decoded at a smaller scale."""
    figures: dict[str, Figure] = {}
    timings: dict[str, Timing] = {}
    for form in ("png", "png-16", "tiff", "tiff-lzw", "tiff-deflate"):
        paths = pictures.files(bench.folder, form, bench.size(4, 1), pictures.FULL_HD)
        measured = _beside_peers(bench, paths, 512, _OTHER_PEERS)
        figures[f"speed {form}"] = measured.figures["speed"]
        timings |= {f"{form}, {candidate}": timing for candidate, timing in measured.timings.items()}
    return Measured(figures, timings)


@benchmark(
    "jpeg-sizes",
    task="JPEG of 280–1,400 px → 16 px to its own size, mean difference of 255",
    against="Pillow: full decode, LANCZOS",
    goals={"median": Goal(at_most=0.8), "nine in ten": Goal(at_most=2)},
    why="averaging pixels before LANCZOS changes the finest details, mostly those of textures",
)
def jpeg_sizes(bench: Bench) -> Measured:
    """Compare results of many pictures, sizes and ratios with those of whole decodes."""
    differences = sorted(pictures.of_many_sizes(bench.size(60, 2), _difference_of))
    figures = {
        "median": Figure.of([median(differences)], ""),
        "nine in ten": Figure.of([differences[len(differences) * 9 // 10]], ""),
    }
    return Measured(figures, notes=[f"{len(differences)} results; the largest difference is {differences[-1]:.2f}"])


def _difference_of(content: bytes, target: int) -> float:
    ours, plain = (decode(content, target).astype(np.int16) for decode in (decoders.ours, decoders.plain))
    return float(np.abs(ours - plain).mean())


BENCHMARKS = (jpeg_12mp, jpeg_hd, jpeg_12mp_peers, jpeg_hd_peers, png_tiff_peers, jpeg_sizes)


def _jpegs(bench: Bench, size: tuple[int, int]) -> Sequence[Path]:
    return pictures.files(bench.folder, "jpeg", bench.size(12, 2), size)


def _beside_plain(bench: Bench, paths: Sequence[Path], target: int) -> Measured:
    timings = _compared(bench, {_OURS: decoders.ours, _PLAIN: decoders.plain}, paths, target)
    figures = {
        "speed": cpu_ratio(timings, _OURS, _PLAIN),
        "difference": Figure.of([_difference(timings[_OURS], timings[_PLAIN])], ""),
    }
    return Measured(figures, timings)


def _beside_peers(bench: Bench, paths: Sequence[Path], target: int, peers: Mapping[str, Decode]) -> Measured:
    """Compare with the fastest peer whose difference from plain Pillow is at most a little larger."""
    timings = _compared(bench, {_OURS: decoders.ours, _PLAIN: decoders.plain, **peers}, paths, target)
    differences = {candidate: _difference(timing, timings[_PLAIN]) for candidate, timing in timings.items()}
    equal = [candidate for candidate in peers if differences[candidate] <= differences[_OURS] + _LITTLE]
    if not equal:
        raise BenchmarkError(f"choose a peer: all differ much more from plain Pillow: {differences}")
    best = min(equal, key=lambda candidate: median(timings[candidate].cpu))
    notes = [f"the fastest is {best}", "differences: " + ", ".join(f"{k} {v:.2f}" for k, v in differences.items())]
    return Measured({"speed": cpu_ratio(timings, _OURS, best)}, timings, notes)


def _compared(bench: Bench, decodes: Mapping[str, Decode], paths: Sequence[Path], target: int) -> dict[str, Timing]:
    candidates = {name: Candidate(decoders.candidate, (decode, paths, target)) for name, decode in decodes.items()}
    return bench.compare(candidates, rounds=7)


def _difference(timing: Timing, plain: Timing) -> float:
    """Return the mean absolute difference of all values, of 255."""
    ours, theirs = (cast("Array", each.outcome).astype(np.int16) for each in (timing, plain))
    if ours.shape != theirs.shape:
        raise BenchmarkError(f"compare arrays: one candidate made {ours.shape}, plain Pillow {theirs.shape}")
    return float(np.abs(ours - theirs).mean())
