"""Batches of copies: one call, several copies, each with its own kinds of memory."""

import ctypes
import os

from harness import driver as d

U64, HANDLE, SIZE = ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t
STREAM, DURING_CALL, ANY = 1, 2, 3
ref = ctypes.byref


class Location(ctypes.Structure):
    """CUmemLocation of cuda.h."""

    _fields_ = [("type", ctypes.c_int), ("id", ctypes.c_int)]


class Attributes(ctypes.Structure):
    """CUmemcpyAttributes of cuda.h."""

    _fields_ = [
        ("order", ctypes.c_int), ("source", Location), ("target", Location),
        ("flags", ctypes.c_uint),
    ]  # fmt: skip


class Pointer(ctypes.Structure):
    """The pointer side of CUmemcpy3DOperand."""

    _fields_ = [("at", U64), ("row", SIZE), ("layer", SIZE), ("hint", Location)]


class Operand(ctypes.Structure):
    """CUmemcpy3DOperand of cuda.h."""

    _fields_ = [("type", ctypes.c_int), ("pointer", Pointer)]


class BoxCopy(ctypes.Structure):
    """CUDA_MEMCPY3D_BATCH_OP of cuda.h."""

    _fields_ = [
        ("source", Operand), ("target", Operand), ("extent", SIZE * 3), ("order", ctypes.c_int),
        ("flags", ctypes.c_uint),
    ]  # fmt: skip


def batch(cuda, copies, stream, orders=((STREAM, 0),), name="cuMemcpyBatchAsync_v2"):
    """The code of a batch of (target, source, bytes), and the index that failed."""
    count = len(copies)
    attributes = (Attributes * len(orders))(*[Attributes(order=o) for o, _ in orders])
    first = (SIZE * len(orders))(*[i for _, i in orders])
    lists = [(U64 * count)(*[c[i] for c in copies]) for i in (0, 1)]
    sizes = (SIZE * count)(*[c[2] for c in copies])
    failed = SIZE(7777)
    arguments = [*lists, sizes, count, attributes, first, len(orders)]
    if not name.endswith("_v2"):
        arguments.append(ref(failed))
    return cuda.code(name, *arguments, stream), failed.value


def test_several_directions_at_once(cuda):
    cuda.start()
    data = os.urandom(5000)
    host = ctypes.create_string_buffer(data, 5000)
    back = ctypes.create_string_buffer(5000)
    first, second, stream = cuda.alloc(5000), cuda.alloc(5000), cuda.stream()
    copies = [
        (first, ctypes.addressof(host), 5000),
        (second, first, 5000),
        (ctypes.addressof(back), second, 5000),
        (second, first + 100, 0),
    ]
    orders = ((DURING_CALL, 0), (STREAM, 1), (ANY, 2))
    for name in ("cuMemcpyBatchAsync_v2", "cuMemcpyBatchAsync"):
        assert batch(cuda, copies, stream, orders, name)[0] == 0
        cuda.cuStreamSynchronize(stream)
        assert back.raw == data
        ctypes.memset(back, 0, 5000)


def test_what_a_batch_refuses(cuda):
    cuda.start()
    first, second, stream = cuda.alloc(64), cuda.alloc(64), cuda.stream()
    good, value = (first, second, 64), d.INVALID_VALUE
    whole = (1 << 64) - 1
    old = "cuMemcpyBatchAsync"
    assert batch(cuda, [good], None, name=old) == (value, whole)  # the legacy stream
    assert batch(cuda, [good], stream, orders=(), name=old) == (value, whole)
    assert batch(cuda, [good], stream, orders=((0, 0),), name=old) == (value, whole)
    assert batch(cuda, [good], stream, orders=((STREAM, 1),), name=old) == (value, whole)
    assert batch(cuda, [good, (0, second, 64)], stream, name=old) == (value, 1)
    assert batch(cuda, [good, good], stream, orders=((STREAM, 0), (ANY, 0)))[0] == value
    assert batch(cuda, [good], HANDLE(0x7777))[0] in (d.INVALID_HANDLE, value)
    cuda.cuStreamSynchronize(stream)


def boxes(cuda, stream, *steps):
    return cuda.code(
        "cuMemcpy3DBatchAsync_v2", len(steps), (BoxCopy * len(steps))(*steps), 0, stream
    )


def test_boxes(cuda):
    cuda.start()
    source, target = cuda.upload(bytes(range(96))), cuda.upload(bytes(96))
    stream = cuda.stream()

    def step(at, to, row=8, order=STREAM, width=3):
        return BoxCopy(
            source=Operand(1, Pointer(at=source + at, row=row, layer=4)),
            target=Operand(1, Pointer(at=target + to, row=0, layer=0)),
            extent=(width, 2, 2),
            order=order,
        )

    assert boxes(cuda, stream, step(0, 0), step(9, 20, order=ANY)) == 0
    cuda.cuStreamSynchronize(stream)

    def cut(at):
        return b"".join(
            bytes(range(at + 32 * z + 8 * y, at + 32 * z + 8 * y + 3))
            for z in range(2)
            for y in range(2)
        )

    assert cuda.download(target, 40) == cut(0) + bytes(8) + cut(9) + bytes(8)
    assert boxes(cuda, stream, step(0, 0, order=0)) == d.INVALID_VALUE
    assert boxes(cuda, stream, step(0, 0, width=0)) == d.INVALID_VALUE
    assert boxes(cuda, None, step(0, 0)) == d.INVALID_VALUE
