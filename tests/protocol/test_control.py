"""Control messages: what is encoded is decoded, and nothing malformed gets through or crashes."""

import contextlib
import random
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vgpu.protocol import control
from vgpu.protocol.errors import MessageError, VersionMismatch
from vgpu.protocol.version import CURRENT, Version, negotiate

text = st.text(max_size=40)
unsigned = st.integers(0, 2**64 - 1)
bytes16 = st.binary(min_size=16, max_size=16)
device = st.builds(
    control.Device,
    ordinal=st.integers(0, 4095),
    name=text,
    uuid=bytes16,
    total_memory=unsigned,
    attributes=st.dictionaries(st.integers(1, 300), st.integers(-(2**31), 2**31 - 1), max_size=5),
    pci=st.lists(st.integers(0, 65535), min_size=3, max_size=3),
)
client = st.builds(control.ClientIdentity, pid=unsigned, host=text, program=text)
version = st.tuples(st.integers(0, 65535), st.integers(0, 65535))

STRATEGIES: dict[type[control.Message], st.SearchStrategy[Any]] = {
    control.Hello: st.builds(control.Hello, version=version, client=client),
    control.Bind: st.builds(
        control.Bind,
        session=bytes16,
        environment=st.dictionaries(text, text, max_size=4),
        client_public=text,
    ),
    control.End: st.builds(control.End, session=bytes16),
    control.Ready: st.builds(
        control.Ready,
        pid=unsigned,
        driver_version=st.integers(0, 10**6),
        devices=st.lists(device, max_size=3).map(tuple),
    ),
    control.Bound: st.builds(control.Bound, command=text, bulk=text),
    control.Ended: st.builds(control.Ended, reason=text, clean=st.booleans()),
    control.Statistics: st.builds(
        control.Statistics,
        records=unsigned,
        launches=unsigned,
        late_errors=unsigned,
        bytes_in=unsigned,
        bytes_out=unsigned,
    ),
    control.Refusal: st.builds(control.Refusal, code=text, message=text),
}
any_message = st.one_of(list(STRATEGIES.values()))


def test_every_message_is_covered() -> None:
    assert set(STRATEGIES) == set(control.Message.__subclasses__())


def test_names_are_unique_in_a_direction() -> None:
    names = [kind.name for kind in control.Message.__subclasses__()]
    assert len(set(names)) == len(names)


@given(any_message)
def test_round_trip(message: control.Message) -> None:
    fields = control.decode(control.encode(message.fields()))
    assert fields["t"] == message.name
    assert type(message).read(fields) == message


@given(any_message, st.dictionaries(st.text(min_size=21, max_size=30), text, max_size=3))
def test_unknown_keys_come_from_a_newer_minor_and_are_ignored(
    message: control.Message, extra: dict[str, str]
) -> None:
    fields = {**extra, **message.fields()}
    assert type(message).read(control.decode(control.encode(fields))) == message


@given(any_message)
def test_messages_are_frozen(message: control.Message) -> None:
    field = next(iter(type(message).model_fields))
    with pytest.raises(ValueError, match="frozen"):
        setattr(message, field, None)


def survives(frame: bytes) -> None:
    """Decoding gives a map or MessageError, and so does each reader."""
    try:
        fields = control.decode(frame)
    except MessageError:
        return
    for kind in STRATEGIES:
        with contextlib.suppress(MessageError):
            kind.read(fields)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_or_read(frame: bytes) -> None:
    survives(frame)


@settings(max_examples=30)
@given(any_message)
def test_every_truncation_is_refused(message: control.Message) -> None:
    frame = control.encode(message.fields())
    for size in range(len(frame)):
        with pytest.raises(MessageError):
            control.decode(frame[:size])


@given(any_message, st.integers(0, 2**32))
def test_mutations_are_refused_or_read(message: control.Message, seed: int) -> None:
    chance = random.Random(seed)
    frame = bytearray(control.encode(message.fields()))
    for _ in range(chance.randint(1, 6)):
        frame[chance.randrange(len(frame))] = chance.randrange(256)
    survives(bytes(frame))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | text | bytes16,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(list(STRATEGIES)), st.data())
def test_wrong_types_are_refused_or_read(kind: type[control.Message], data: st.DataObject) -> None:
    keys = list(kind.model_fields)
    fields = {key: data.draw(json_like) for key in data.draw(st.sets(st.sampled_from(keys)))}
    survives(control.encode({"t": kind.name, **fields}))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        msgpack.packb([1, 2]),
        msgpack.packb("hello"),
        msgpack.packb({1: 2}),
        msgpack.packb({"t": "hello"}) + b"\x00",
        msgpack.packb({b"\xff": 1}),
        b"\x91" * 100_000,
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        bytes(control.MAX_MESSAGE + 1),
    ],
)
def test_malformed_frames_are_refused(frame: bytes) -> None:
    with pytest.raises(MessageError):
        control.decode(frame)


@pytest.mark.parametrize(
    ("kind", "fields", "names"),
    [
        (control.Hello, {}, "version"),
        (control.Hello, {"version": [1]}, "version"),
        (control.Hello, {"version": [1, -1]}, "version"),
        (control.Bind, {"session": b"short"}, "session"),
        (control.Bind, {"session": "sixteen letters!"}, "session"),
        (control.Bind, {"session": bytes(16), "environment": {"A": 1}}, "environment"),
        (control.End, {}, "session"),
        (control.Ready, {"pid": -1, "driver_version": 13000}, "pid"),
        (control.Bound, {"command": "tcp://*:1"}, "bulk"),
    ],
)
def test_the_message_names_the_field(
    kind: type[control.Message], fields: dict[str, Any], names: str
) -> None:
    with pytest.raises(MessageError, match=f"bad {kind.name!r} message: {names}"):
        kind.read(fields)


def test_neighbouring_minors_interoperate() -> None:
    assert negotiate(Version(1, 4), Version(1, 2)) == Version(1, 2)
    assert negotiate(Version(1, 2), Version(1, 4)) == Version(1, 2)
    assert negotiate(CURRENT, CURRENT) == CURRENT


@pytest.mark.parametrize(("theirs", "fix"), [((0, 9), "client"), ((2, 0), "worker")])
def test_another_major_is_refused_with_the_fix(theirs: tuple[int, int], fix: str) -> None:
    with pytest.raises(VersionMismatch) as caught:
        negotiate(Version(1, 0), Version(*theirs))
    for part in ("1.0", f"{theirs[0]}.{theirs[1]}", f"upgrade the {fix}"):
        assert part in str(caught.value)
