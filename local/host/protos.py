"""Messages that Microsoft's worker library exchanges with a host, with the attributes that it uses.

In Azure they come over gRPC. The library only reads attributes and calls constructors, so plain dataclasses are enough.
The attribute names are the library's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

# Aliases, because TypedData has attributes named `bytes` and `int`, which hide the types in its body.
type _Bytes = bytes
type _Int = int


@dataclass(frozen=True, slots=True)
class Nullable:
    """A value that may be unset."""

    value: Any = None


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A time in whole seconds since 1970."""

    seconds: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcHttpCookie:
    """One cookie of a response."""

    SameSite: ClassVar[SimpleNamespace] = SimpleNamespace(**{"None": 0, "Lax": 1, "Strict": 2, "ExplicitNone": 3})

    name: str
    value: str
    domain: Nullable | None = None
    path: Nullable | None = None
    expires: Nullable | None = None
    secure: Nullable | None = None
    http_only: Nullable | None = None
    same_site: int = 0
    max_age: Nullable | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedData:
    """An input or output value of a function; at most one attribute is set."""

    string: str | None = None
    json: str | None = None
    bytes: _Bytes | None = None
    http: "RpcHttp | None" = None
    int: _Int | None = None
    double: float | None = None

    def WhichOneof(self, _group: str) -> str | None:  # noqa: N802 - the library calls it so
        """Return the name of the attribute that is set, or None."""
        names = ("string", "json", "bytes", "http", "int", "double")
        return next((name for name in names if getattr(self, name) is not None), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcHttp:
    """An HTTP request or response."""

    method: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: TypedData | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    status_code: str = ""
    cookies: list[RpcHttpCookie] | None = None
    enable_content_negotiation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterBinding:
    """A function's argument or output by name."""

    name: str
    data: TypedData | None

    def WhichOneof(self, _group: str) -> str:  # noqa: N802 - the library calls it so
        """Return "data": the value is in the message, not in shared memory."""
        return "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcException:
    """Exception that a function or the indexing of an app raised."""

    message: str
    stack_trace: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusResult:
    """Result of a request."""

    Failure: ClassVar[int] = 0
    Success: ClassVar[int] = 1

    status: int
    exception: RpcException | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingInfo:
    """A binding as the library reports it; the raw JSON text has more details."""

    undefined: ClassVar[int] = 0
    out: ClassVar[int] = 1
    inout: ClassVar[int] = 2

    type: str
    data_type: Any = None
    direction: Any = None


PROTOS = SimpleNamespace(
    BindingInfo=BindingInfo,
    NullableBool=Nullable,
    NullableDouble=Nullable,
    NullableString=Nullable,
    NullableTimestamp=Nullable,
    ParameterBinding=ParameterBinding,
    RpcException=RpcException,
    RpcHttp=RpcHttp,
    RpcHttpCookie=RpcHttpCookie,
    StatusResult=StatusResult,
    Timestamp=Timestamp,
    TypedData=TypedData,
    # The library only sets attributes of these and returns them.
    FunctionMetadataResponse=SimpleNamespace,
    InvocationResponse=SimpleNamespace,
    RpcFunctionMetadata=SimpleNamespace,
    RpcRetryOptions=SimpleNamespace,
    WorkerInitResponse=SimpleNamespace,
    WorkerMetadata=SimpleNamespace,
)
"""Replacement for the library's module of generated classes."""
