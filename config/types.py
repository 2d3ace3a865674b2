"""Types of app settings: the texts that they accept, and the values that these become."""

from collections.abc import Callable
from dataclasses import Field, dataclass
from datetime import timedelta
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    TypeAdapter,
)
from pydantic import (
    Field as Rule,
)

from imagefeed.durations import DURATION_LIKE, parse_duration
from imagefeed.layout import OPEN


def _parse_positive(text: str) -> timedelta:
    span = parse_duration(text)
    if not span:
        raise ValueError("it must be above 0s")
    return span


@dataclass(frozen=True, slots=True)
class Words:
    """Description of the texts that a type accepts, for error messages."""

    text: str


class Verbatim:
    """Marker of a type whose texts keep blanks at both ends, because a password may have some."""


def passes(check: Callable[[str], object]) -> AfterValidator:
    """Return a validator that accepts a text unless `check` raises an error."""

    def keep(text: str) -> str:
        check(text)
        return text

    return AfterValidator(keep)


def _not_reserved(name: str) -> None:
    if name == OPEN:
        raise ValueError(f"{OPEN} is reserved")


Name = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9-]{1,32}$"),
    passes(_not_reserved),
    Words(f"1 to 32 of a-z, 0-9 and -, and not `{OPEN}`"),
]
TimeZone = Annotated[str, passes(ZoneInfo), Words("an IANA time zone such as Europe/Berlin")]
Encoding = Annotated[str, passes("".encode), Words("a text encoding that Python knows, such as utf-8 or cp1252")]
Secret = Annotated[str, Verbatim(), Words("a text")]
KeyText = Annotated[
    str, AfterValidator(lambda text: text.replace("\\n", "\n")), Words("the text of a key, with `\\n` for line breaks")
]
"""Text of a key or certificate, with `\\n` for line breaks, because some places for settings allow only one line."""
Pause = Annotated[timedelta, BeforeValidator(parse_duration), Words(f"a duration {DURATION_LIKE}; 0s for none")]
Seconds = Annotated[PositiveFloat, Rule(le=3_600), Words("a number of seconds above 0, 3,600 at most")]
Budget = Annotated[
    timedelta,
    # The text is a setting, or comes from a SourceState, where it is in ISO 8601.
    BeforeValidator(lambda text: text if str(text).startswith("P") else _parse_positive(text)),
    # A hung request can take 5 minutes more, and functionTimeout in host.json is 30 minutes.
    Rule(le=timedelta(minutes=24)),
    Words(f"a duration above 0s {DURATION_LIKE}, 24m at most"),
]
MemberSeconds = Annotated[PositiveFloat, Rule(le=540), Words("a number of seconds above 0, 540 at most")]
Multiple = Annotated[PositiveFloat, Rule(le=1_000), Words("a number above 0, 1,000 at most")]
Connections = Annotated[PositiveInt, Rule(le=64), Words("a whole number above 0, 64 at most")]

_PLAIN: dict[Any, Any] = {
    str: Annotated[str, Words("a text")],
    int: Annotated[PositiveInt, Words("a whole number above 0")],
    float: Annotated[PositiveFloat, Words("a number above 0")],
    bool: Annotated[bool, Words("true or false")],
    timedelta: Annotated[timedelta, BeforeValidator(_parse_positive), Words(f"a duration above 0s {DURATION_LIKE}")],
}
"""Type of an app setting, by the plain type of its field."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One app setting, and the field that holds its value."""

    group: type
    field: Field[Any]
    hint: Any
    """The field's type, plain or Annotated."""

    def read(self, text: str) -> Any:
        """Parse a setting's text as its field's type. Raises ValueError, LookupError, OSError, SettingsError."""
        text = text.strip("\r\n") if any(isinstance(each, Verbatim) for each in get_args(self._type)) else text.strip()
        return TypeAdapter(self._type, config=ConfigDict(allow_inf_nan=False)).validate_python(text)

    @property
    def accepts(self) -> str:
        """Return a description of the texts that the setting accepts."""
        return next((each.text for each in get_args(self._type) if isinstance(each, Words)), "a text")

    @property
    def _type(self) -> Any:
        options = get_args(self.hint) if get_origin(self.hint) in (UnionType, Union) else (self.hint,)
        (hint,) = (option for option in options if option is not NoneType)
        if get_origin(hint) is Literal:
            return Annotated[hint, Words("one of " + ", ".join(get_args(hint)))]
        if get_origin(hint) is tuple:
            return Annotated[
                hint, BeforeValidator(lambda text: text.split(",")), Words("numbers with commas between them")
            ]
        return hint if get_origin(hint) is Annotated else _PLAIN[hint]
