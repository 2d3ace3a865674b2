"""Zips of data in formats that are not read, of harmless members, and of compressed images."""

import bz2
import gzip
import io
import lzma
import random
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from imagefeed.model import State
from tests.unit.preprocess.pictures import encoded, smooth
from tests.unit.preprocess.zips import zipped

HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(500)
FITS = b"SIMPLE  =                    T" + b" " * 500
JPEG = encoded(smooth(40, 60), "JPEG")
PNG = encoded(smooth(20, 20), "PNG")


@dataclass(frozen=True)
class Case:
    """A zip, and its outcome."""

    content: bytes
    state: State
    images: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    """Members by kind, as of `skipped`."""
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def members(self) -> int:
        return self.images + sum(self.refused.values()) + sum(self.skipped.values())


def npy() -> bytes:
    saved = io.BytesIO()
    np.save(saved, np.zeros((4, 4)))
    return saved.getvalue()


def tar_gz() -> bytes:
    saved = io.BytesIO()
    with tarfile.open(fileobj=saved, mode="w:gz") as tar:
        entry = tarfile.TarInfo("a.jpg")
        entry.size = len(JPEG)
        tar.addfile(entry, io.BytesIO(JPEG))
    return saved.getvalue()


def refused(name: str, content: bytes, kind: str, number: int = 1) -> Case:
    members = ((f"{n}{name}", content) for n in range(number))
    return Case(zipped(*members), State.REFUSED, refused={kind: number})


def read(name: str, content: bytes) -> Case:
    return Case(zipped((name, content)), State.PROCESSED, images=1)


CASES: Mapping[str, Case] = {
    "three fits": refused(".fits", FITS, ".fits", 3),
    "odim h5": refused(".h5", HDF5, ".h5"),
    "netcdf": refused(".nc", b"CDF\x02" + bytes(99), ".nc"),
    "grib": refused(".grb2", b"GRIB\0\0\0\2" + bytes(99), ".grb2"),
    "dicom": refused(".dcm", bytes(128) + b"DICM" + bytes(99), ".dcm"),
    "npy": refused(".npy", npy(), ".npy"),
    "video": refused(".mp4", b"\0\0\0\x20ftypisom" + bytes(99), ".mp4"),
    "nested zip": refused("inner.zip", zipped(("a.jpg", JPEG)), ".zip"),
    "tar.gz": refused("a.tar.gz", tar_gz(), ".tar.gz"),
    "without a suffix": refused("", HDF5, "HDF5"),
    "empty data": refused(".h5", b"", ".h5"),
    "data that is packed": refused(".fits.gz", gzip.compress(FITS), ".fits.gz"),
    "packed twice": refused(".jpg.gz", gzip.compress(gzip.compress(JPEG)), ".jpg.gz"),
    "broken gzip": refused(".jpg.gz", gzip.compress(JPEG)[:-9], ".jpg.gz"),
    "broken xz": refused(".jpg.xz", lzma.compress(JPEG)[:-9], ".jpg.xz"),
    "broken bzip2": refused(".jpg.bz2", bz2.compress(JPEG)[:-9], ".jpg.bz2"),
    "fits named csv": refused("a.csv", FITS, ".csv"),
    "fits named txt, packed": refused("a.txt.gz", gzip.compress(FITS), ".txt.gz"),
    "noise named txt": refused("a.txt", random.Random(1).randbytes(9_999), ".txt"),
    "dicom named by numbers": Case(
        zipped(*((f"1.2.840.{n}", bytes(128) + b"DICM") for n in range(30))), State.REFUSED, refused={"DICOM": 30}
    ),
    "h5 and a quicklook": Case(
        zipped(*((f"{n}.h5", HDF5) for n in range(12)), ("quicklook.jpg", JPEG), ("readme.txt", b"notes")),
        State.PROCESSED,
        images=1,
        refused={".h5": 12},
        skipped={"text": 1},
    ),
    "h5 and harmless members": Case(
        zipped(("a.h5", HDF5), ("d/", b""), ("a.md5", b"0123")),
        State.REFUSED,
        refused={".h5": 1},
        skipped={"directory": 1, "checksum": 1},
    ),
    "gzip": read("photo.jpg.gz", gzip.compress(JPEG)),
    "gzip of two parts": read("photo.jpg.gz", gzip.compress(JPEG[:99]) + gzip.compress(JPEG[99:])),
    "bzip2": read("photo.png.bz2", bz2.compress(PNG)),
    "xz": read("photo.png.xz", lzma.compress(PNG)),
    "xz of two streams": read("photo.png.xz", lzma.compress(PNG[:99]) + bytes(4) + lzma.compress(PNG[99:])),
    "gzip without the image's suffix": read("photo.gz", gzip.compress(PNG)),
    "a readme": Case(zipped(("readme.txt", b"notes")), State.EMPTY, skipped={"text": 1}),
    "a packed readme": Case(zipped(("readme.txt.gz", gzip.compress(b"notes"))), State.EMPTY, skipped={"text": 1}),
    "nothing": Case(zipped(), State.EMPTY),
}
