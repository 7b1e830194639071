"""Control messages: msgpack maps between client and worker, and between worker and executor.

README.md lists the fields. Untyped bytes become frozen, validated objects here, once: every decoder
raises MessageError on anything else, and unknown keys are ignored (they come from a newer minor).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

import msgpack
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vgpu.protocol.errors import MessageError
from vgpu.protocol.version import Version

# A control message is a few kilobytes; the longest is `attached` with the attributes of 128
# devices.
MAX_MESSAGE = 4 << 20

Bytes16 = Annotated[bytes, Field(min_length=16, max_length=16)]
ShortText = Annotated[str, Field(max_length=4096)]
Unsigned = Annotated[int, Field(ge=0, le=2**64 - 1)]
VersionPair = tuple[Annotated[int, Field(ge=0, le=65535)], Annotated[int, Field(ge=0, le=65535)]]


_UNPACK_ERRORS = (
    ValueError,
    TypeError,
    RecursionError,
    MemoryError,
    OverflowError,
    msgpack.exceptions.UnpackException,
)


def encode(message: Mapping[str, Any]) -> bytes:
    """One control message as it travels."""
    packed = msgpack.packb(dict(message), use_bin_type=True)
    assert isinstance(packed, bytes)
    return packed


def decode(frame: bytes) -> dict[str, Any]:
    """A map with text keys from one frame; MessageError for anything else, however broken."""
    if len(frame) > MAX_MESSAGE:
        raise MessageError(f"a control message of {len(frame)} bytes is longer than {MAX_MESSAGE}")
    try:
        value = msgpack.unpackb(frame, raw=False, strict_map_key=False)
    except _UNPACK_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise MessageError(f"not a msgpack message: {reason}") from error
    if not isinstance(value, dict):
        raise MessageError("a control message must be a msgpack map")
    if not all(isinstance(key, str) for key in value):
        raise MessageError("the keys of a control message must be text")
    return value


class Message(BaseModel):
    """A decoded control message; its `t` is the class attribute `name`."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=False)
    name: ClassVar[str]

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Self:
        """Validates the fields of a map; MessageError names what is wrong."""
        try:
            return cls.model_validate(fields)
        except (ValidationError, RecursionError) as error:
            raise MessageError(f"bad {cls.name!r} message: {_first_problem(error)}") from error

    def fields(self) -> dict[str, Any]:
        """The map that travels, `t` included."""
        return {"t": self.name, **self.model_dump()}


def _first_problem(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{'.'.join(str(part) for part in problem['loc'])[:120]}: {problem['msg'][:200]}"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class ClientIdentity(_Strict):
    """Who attaches; for logs and `vgpu status` only."""

    pid: Unsigned = 0
    host: ShortText = ""
    program: ShortText = ""


class Hello(Message):
    """Client to worker: attach."""

    name = "hello"
    version: VersionPair
    client: ClientIdentity = ClientIdentity()

    @property
    def spoken(self) -> Version:
        """The client's protocol version."""
        return Version(*self.version)


class Bind(Message):
    """Client to worker: give me an executor."""

    name = "bind"
    model_config = ConfigDict(strict=True)
    session: Bytes16
    environment: dict[ShortText, ShortText] = {}
    client_public: Annotated[str, Field(max_length=40)] = ""


class End(Message):
    """Client to worker: why did my executor end?"""

    name = "end"
    model_config = ConfigDict(strict=True)
    session: Bytes16


class Device(BaseModel):
    """A device as the control messages describe it; fields that we do not know are kept."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)
    ordinal: Annotated[int, Field(ge=0, le=4095)]
    name: ShortText
    uuid: Bytes16
    total_memory: Unsigned
    attributes: dict[int, int] = {}
    pci: Annotated[list[int], Field(min_length=3, max_length=3)] = [0, 0, 0]

    @property
    def uuid_text(self) -> str:
        """As nvidia-smi and CUDA_VISIBLE_DEVICES spell it."""
        digits = self.uuid.hex()
        parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
        return "GPU-" + "-".join(parts)


class Ready(Message):
    """Executor to worker: initialised, waiting for its session."""

    name = "ready"
    pid: Unsigned
    driver_version: Annotated[int, Field(ge=0, le=10**6)]
    devices: tuple[Device, ...] = ()


class Bound(Message):
    """Executor to worker: listening for its client."""

    name = "bound"
    command: ShortText
    bulk: ShortText


class Ended(Message):
    """Executor to worker: the session is over, this process exits next."""

    name = "ended"
    reason: ShortText = ""
    clean: bool = False


class Statistics(Message):
    """Executor to worker: counters so far."""

    name = "statistics"
    records: Unsigned = 0
    launches: Unsigned = 0
    late_errors: Unsigned = 0
    bytes_in: Unsigned = 0
    bytes_out: Unsigned = 0


class Refusal(Message):
    """`error`: what went wrong, and what to do."""

    name = "error"
    code: Annotated[str, Field(max_length=64)] = "error"
    message: ShortText = ""
