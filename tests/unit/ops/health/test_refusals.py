"""Each reason for a refusal has a cause, and so a cure."""

import ast
from collections.abc import Iterator

import pytest

from ops.health.refusals import CURES, Cause, cause_of, cure_of
from tests.fixtures.fake_tools import PROJECT

_ERRORS = {"ArchiveRefusedError", "ArchiveIncompleteError", "MemberRefusedError", "UnreadFormatError"}
_CAUSES = {
    Cause.HOOK: [
        "{name_of(self._hook)} returned {kind}: it must return an array or None",
        "{name_of(self._hook)} returned an array of {output.dtype}: it must return an array of numbers",
    ],
    Cause.LIMIT: [
        "its batch has more pixels than LIMIT_BATCH_PIXELS={self._limits.batch_pixels}",
        "its {scans} scans of {image.width} x {image.height} have more pixels than "
        "LIMIT_MEMBER_PIXELS={limits.member_pixels} together",
        "a frame has {image.width} x {image.height} pixels{times}, but LIMIT_PIXELS allows {limits.pixels}",
        "its frames have more pixels than LIMIT_MEMBER_PIXELS={limits.member_pixels}",
        "it has more frames than LIMIT_FRAMES={limits.frames}",
        "it inflates to more than LIMIT_MEMBER_BYTES={limits.member_bytes}",
        "its batch inflates to more than LIMIT_BATCH_BYTES={limits.batch_bytes}",
        "it inflates to more than LIMIT_RATIO={limits.ratio} times its compressed size",
        "the zip has {end.members} members, LIMIT_ARCHIVE_MEMBERS allows {allowed}",
        "zip central directory has {end.size} bytes, too many for LIMIT_ARCHIVE_MEMBERS={allowed}",
        "the zip has more members than LIMIT_ARCHIVE_MEMBERS={allowed} allows",
        "plan of {len(batches)} batches: too many for one row; raise BATCH_MEMBERS",
    ],
    Cause.SETTINGS: [
        "it has {channels} channels, {setting} has {len(numbers)} numbers",
        "PREPROCESS_DTYPE={recipe.dtype} cannot hold its {pixels.dtype} values: set it to float32 or keep, or choose "
        "the range with PREPROCESS_SCALE",
        "PREPROCESS_CROP={recipe.crop} lies outside the picture of {size[0]} x {size[1]}",
    ],
    Cause.UNSUPPORTED: [
        "it is a PPM of several pictures, which is not supported",
        "it is several JPEGs in one without an index, which is not supported: send them singly",
        "its values of {bits} bits cannot be read from {form} without loss: send them as TIFF or single PNGs",
        "it begins like an image, but this kind is not supported: {kind}",
        "it has pictures below a page (SubIFDs), which are not supported",
        "its critical chunk at {start} is not supported",
        "its colours of 16 bits, written as text, cannot be read without loss",
        "its values of {bits} bits cannot be read without loss",
        "its alpha of a few bits cannot be read without loss",
        "its colour mode {image.mode} is not supported",
        "its layout of 16 bits per channel ({image.mode}) cannot be read without loss",
        "its alpha is stored apart from its grey, which cannot be read without loss",
        "its unsigned 32-bit values go beyond 2,147,483,647",
        "it is not an image of an accepted format ({', '.join(FORMATS)})",
        "it is one part of a split zip: send it as a single file",
        "it has {channels} channels, of which only {len(image.getbands())} can be read",
        "{missing} of its {len(counts)} tiles have no values: it was written sparse",
        "it is encrypted, and passwords are not supported: send it without one",
        "its compression method {member.method} is not supported: send it deflated or stored",
        "it is several zips in one: another ends at byte {ends[0].shift}; send them singly",
        "it is a camera's raw file, of which only a preview can be read: develop it to TIFF",
        "it is a symbolic link: send the file that it points to",
        "it is larger than 4 GiB without zip64, and its members' offsets do not add up to its size",
        "no format that is read: {named}, {begins}",
        "it is an archive in the archive ({suffix}): put its members into the zip itself, or send it as a zip of its "
        "own",
    ],
    Cause.COPY: ["its blob is empty because the copy into it failed, {archive.copy_error}; copy it again"],
    Cause.CHANGED: [
        "it has {len(archive.members)} members, its plan was made for at least {batch.end}",
        "read {self._archive.blob}: the blob is {change} since its preprocessing began",
    ],
    Cause.BROKEN: [
        "it is made of too many pieces: no encoder writes so many",
        "it is damaged: {exc}",
        "it is damaged: the header of a scan is too short",
        "it is cut off: some of its scans are missing",
        "it is cut off: the end of the {image.format} file is missing",
        "it is made of too many comments: no encoder writes so many",
        "it cannot be decoded: {str(exc) or type(exc).__name__}",
        "it is cut off: the end of the PNG file is missing",
        "it is cut off: its last rows are missing",
        "it is cut off: the list of its pages is incomplete",
        "it is damaged: its list of pages does not end",
        "it is damaged: it declares {declared} frames and has {frames}",
        "it is damaged: a value is {highest}, but its header declares at most {top}",
        "it is damaged: its palette has only {colours} colours",
        "it is damaged: the values in its strip or tile {number} are wrong",
        "zip central directory missing or truncated: the file is not a zip, or it was cut off",
        "zip central directory not where its end record says: the file is damaged or was cut off",
        "zip central directory is empty, but {record} bytes lie before it: its writer stopped half way",
        "more zip records follow the end record: the file was cut off",
        "the last end record is that of a zip {ends[0].shift} bytes behind the file's start: the file was cut off, or "
        "is several zips in one",
        "zip64 end record missing: the file is damaged or was cut off",
        "it has {total} bytes, the central directory says {member.size}",
        "its CRC is {crc}, the central directory says {member.crc}",
        "its central directory entry is invalid: {member.broken}",
        "it inflates to more than the {member.size} bytes that the central directory says",
        "its compressed data is corrupt: {exc}",
        "its offset in the central directory is wrong, or it overlaps another member",
        "no member begins at its offset in the central directory",
        "it overlaps another member, or the central directory",
        "its data is truncated",
        "zip central directory lists {len(members)} members, its end record says {end.members}",
        "zip central directory unreadable at member {index}: the file is damaged",
        "zip central directory truncated at member {index}: the file is damaged",
        "the compressed file's bytes are broken: {exc}",
        "it is made of more than {_STREAMS} compressed streams: no encoder writes so many",
        "it is damaged: the CRC of its chunk at {start} is wrong",
        "its zip64 field is missing or too short",
        "read {length} bytes at {offset} of {self._archive.blob}: it has only {self.size}; the zip is damaged",
    ],
}
"""All reasons of refusals in this project's source."""
_FILLED = (("{name_of(self._hook)}", "PREPROCESS_HOOK (hooks.py:3)"), ("{setting}", "PREPROCESS_MEAN"))


def reasons() -> Iterator[str]:
    for folder in ("preprocess", "storage"):
        for path in (PROJECT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _ERRORS:
                    yield _text(node.args[0])


def _text(argument: ast.expr) -> str:
    if isinstance(argument, ast.Constant):
        return str(argument.value)
    assert isinstance(argument, ast.JoinedStr), ast.unparse(argument)
    return "".join(
        str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"  # type: ignore[attr-defined]
        for part in argument.values
    )


def test_the_cause_of_every_reason_is_known() -> None:
    assert {reason for group in _CAUSES.values() for reason in group} == set(reasons())


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        *((cause, reason) for cause, group in _CAUSES.items() for reason in group),
        (Cause.HOOK, "PREPROCESS_HOOK (hooks.py:3) failed: ValueError: LIMIT_PIXELS cannot be decoded"),
        (Cause.LIMIT, "it takes longer than LIMIT_SECONDS=180"),
        (Cause.CRASH, "the process that decodes it died: killed by signal 9 (SIGKILL)"),
        (Cause.CRASH, "the process that decodes it sent an invalid answer: x"),
        (Cause.CRASH, "out of memory: 99 bytes were available"),
        (Cause.CRASH, "MemoryError"),
        (Cause.UNKNOWN, "division by zero"),
        (Cause.UNKNOWN, ""),
    ],
)
def test_a_reason_tells_its_cause_alone_and_quoted_by_its_archive(cause: Cause, reason: str) -> None:
    for stands, what in _FILLED:
        reason = reason.replace(stands, what)
    assert cause_of(reason) is cause
    if reason != "MemoryError":
        assert cause_of(f"none of its 7 members gave an image (7 .jpg): {reason}") is cause


def test_every_cause_has_its_cure() -> None:
    assert {*CURES} == {*Cause}


def test_what_makes_another_pipeline_is_done_again_under_it() -> None:
    """No archive was refused under it yet, so `--refused` would find nothing."""
    assert "--since 48h" in cure_of("PREPROCESS_HOOK (hooks.py:3) failed: KeyError", whole=True)
    assert "--refused" in cure_of("it takes longer than LIMIT_SECONDS=180", whole=True)
    assert "--archive" in cure_of("PREPROCESS_HOOK (hooks.py:3) failed: KeyError", whole=False)
