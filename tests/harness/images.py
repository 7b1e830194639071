"""Arrays, textures and surfaces: descriptors of cuda.h, and what a fetch returns as documented."""

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.driver import Driver

ARRAY, MIPMAPPED, LINEAR, PITCHED = range(4)
WRAP, CLAMP, MIRROR, BORDER = range(4)
POINT, BILINEAR = range(2)
READ_AS_INTEGER, NORMALIZED, SRGB, SEAMLESS = 0x01, 0x02, 0x10, 0x40
LAYERED, SURFACE, CUBEMAP, GATHER = 0x01, 0x02, 0x04, 0x08
HOST, DEVICE, IN_ARRAY = 1, 2, 3

#: CUarray_format of each element type
FORMATS = {
    "uint8": 0x01, "uint16": 0x02, "uint32": 0x03, "int8": 0x08, "int16": 0x09, "int32": 0x0A,
    "float16": 0x10, "float32": 0x20,
}  # fmt: skip


class Shape(ctypes.Structure):
    """CUDA_ARRAY3D_DESCRIPTOR."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("width", "height", "depth")),
        *((name, ctypes.c_uint) for name in ("format", "channels", "flags")),
    )


class Resource(ctypes.Structure):
    """CUDA_RESOURCE_DESC; ``words`` is its union."""

    _fields_ = (("type", ctypes.c_int), ("words", ctypes.c_uint64 * 16), ("flags", ctypes.c_uint))


class Description(ctypes.Structure):
    """CUDA_TEXTURE_DESC."""

    _fields_ = (
        ("modes", ctypes.c_int * 3),
        *((name, ctypes.c_uint) for name in ("filter", "flags", "anisotropy", "level_filter")),
        *((name, ctypes.c_float) for name in ("bias", "least", "most")),
        ("border", ctypes.c_float * 4),
        ("reserved", ctypes.c_int * 12),
    )


class View(ctypes.Structure):
    """CUDA_RESOURCE_VIEW_DESC."""

    _fields_ = (
        ("format", ctypes.c_int),
        *((name, ctypes.c_size_t) for name in ("width", "height", "depth")),
        *((n, ctypes.c_uint) for n in ("first_level", "last_level", "first_layer", "last_layer")),
        ("reserved", ctypes.c_uint * 16),
    )


_SIDE = (
    *(("size_t", name) for name in ("x", "y", "z", "lod")),
    ("int", "type"),
    *(("pointer", name) for name in ("host", "device", "array", "reserved")),
    *(("size_t", name) for name in ("pitch", "height")),
)
_KINDS: dict[str, Any] = {
    "size_t": ctypes.c_size_t,
    "int": ctypes.c_int,
    "pointer": ctypes.c_void_p,
}


class Copy(ctypes.Structure):
    """CUDA_MEMCPY3D."""

    _fields_ = (
        *((f"from_{name}", _KINDS[kind]) for kind, name in _SIDE),
        *((f"to_{name}", _KINDS[kind]) for kind, name in _SIDE),
        *((name, ctypes.c_size_t) for name in ("width", "height", "depth")),
    )


def create(cuda: Driver, data: np.ndarray, flags: int = 0, dimensions: int | None = None) -> int:
    """An array that holds ``data``: axes (slice, row, column, channel), missing ones in front."""
    shape = shape_of(data, flags, dimensions)
    array = int(cuda.out("cuArray3DCreate_v2", ctypes.c_void_p, ctypes.byref(shape)))
    upload(cuda, array, data)
    return array


def shape_of(data: np.ndarray, flags: int = 0, dimensions: int | None = None) -> Shape:
    """``dimensions`` counts the axes of the array; layers of one-dimensional ones are slices."""
    axes = data.ndim - 1 if dimensions is None else dimensions
    sides = [*data.shape[-2::-1], 0, 0]
    width, height, depth = sides[:3]
    if flags & LAYERED and axes == 1:
        width, height, depth = sides[0], 0, sides[1]
    return Shape(width, height, depth, FORMATS[data.dtype.name], data.shape[-1], flags)


def box(data: np.ndarray) -> tuple[int, int, int]:
    """Bytes of a row, rows of a slice and slices of contiguous data."""
    padded = (1, 1, *data.shape)[-4:]
    return padded[2] * padded[3] * data.itemsize, padded[1], padded[0]


def box_of(cuda: Driver, array: int, data: np.ndarray) -> tuple[int, int, int]:
    """The same, where the rows of one-dimensional layers are slices."""
    width, height, depth = box(data)
    shape = Shape()
    cuda.cuArray3DGetDescriptor_v2(ctypes.byref(shape), array)
    return (width, 1, height) if shape.height == 0 and shape.depth else (width, height, depth)


def upload(cuda: Driver, array: int, data: np.ndarray) -> None:
    host = np.ascontiguousarray(data)
    width, height, depth = box_of(cuda, array, host)
    copy = Copy(
        from_type=HOST, from_host=host.ctypes.data, from_pitch=width, from_height=height,
        to_type=IN_ARRAY, to_array=array, width=width, height=height, depth=depth,
    )  # fmt: skip
    cuda.cuMemcpy3D_v2(ctypes.byref(copy))


def download(cuda: Driver, array: int, like: np.ndarray) -> np.ndarray:
    host = np.zeros_like(like, order="C")
    width, height, depth = box_of(cuda, array, host)
    copy = Copy(
        from_type=IN_ARRAY, from_array=array, to_type=HOST, to_host=host.ctypes.data,
        to_pitch=width, to_height=height, width=width, height=height, depth=depth,
    )  # fmt: skip
    cuda.cuMemcpy3D_v2(ctypes.byref(copy))
    return host


def texture(
    cuda: Driver,
    resource: Resource,
    *,
    modes: Sequence[int] = (CLAMP, CLAMP, CLAMP),
    filter: int = POINT,
    flags: int = 0,
    border: Sequence[float] = (0, 0, 0, 0),
    view: View | None = None,
    **levels: float,
) -> int:
    described = Description(
        modes=(ctypes.c_int * 3)(*modes),
        filter=filter,
        flags=flags,
        border=(ctypes.c_float * 4)(*border),
        **levels,
    )
    seen = None if view is None else ctypes.byref(view)
    outs = (ctypes.byref(resource), ctypes.byref(described), seen)
    return int(cuda.out("cuTexObjectCreate", ctypes.c_uint64, *outs))


def of_array(array: int) -> Resource:
    return Resource(ARRAY, (ctypes.c_uint64 * 16)(array))


def of_mipmap(array: int) -> Resource:
    return Resource(MIPMAPPED, (ctypes.c_uint64 * 16)(array))


def of_linear(address: int, data: np.ndarray) -> Resource:
    kind = FORMATS[data.dtype.name] | data.shape[-1] << 32
    return Resource(LINEAR, (ctypes.c_uint64 * 16)(address, kind, data.nbytes))


def of_pitched(address: int, data: np.ndarray, pitch: int) -> Resource:
    kind = FORMATS[data.dtype.name] | data.shape[-1] << 32
    height, width = data.shape[:2]
    return Resource(PITCHED, (ctypes.c_uint64 * 16)(address, kind, width, height, pitch))


# -- kernels ------------------------------------------------------------------------------------

_PROLOGUE = """.version 8.0
.target sm_75
.address_size 64
.visible .entry k(.param .u64 object, .param .u64 in, .param .u64 out, .param .u32 n)
{
  .reg .pred %p<4>; .reg .b32 %r<48>; .reg .f32 %f<48>; .reg .b64 %d<16>; .reg .b16 %h<16>;
  mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ntid.x; mov.u32 %r2, %tid.x;
  mad.lo.u32 %r3, %r0, %r1, %r2;
  ld.param.u32 %r4, [n];
  setp.ge.u32 %p0, %r3, %r4;
  @%p0 bra done;
  ld.param.u64 %d0, [object];
  ld.param.u64 %d1, [in];
  ld.param.u64 %d2, [out];
  mul.wide.u32 %d3, %r3, 32;
  add.u64 %d1, %d1, %d3;
  mul.wide.u32 %d4, %r3, 16;
  add.u64 %d2, %d2, %d4;
  ld.global.v4.b32 {%r10, %r11, %r12, %r13}, [%d1];
  ld.global.v4.b32 {%r14, %r15, %r16, %r17}, [%d1+16];
  mov.b32 %f10, %r10; mov.b32 %f11, %r11; mov.b32 %f12, %r12; mov.b32 %f13, %r13;
  mov.b32 %f14, %r14; mov.b32 %f15, %r15; mov.b32 %f16, %r16; mov.b32 %f17, %r17;
  mov.b32 %r20, 0; mov.b32 %r21, 0; mov.b32 %r22, 0; mov.b32 %r23, 0;
"""
_EPILOGUE = """
  st.global.v4.b32 [%d2], {%r20, %r21, %r22, %r23};
done:
  ret;
}
"""
#: puts the result of a fetch of floats where the epilogue takes it
FLOATS = "mov.b32 %r20, %f20; mov.b32 %r21, %f21; mov.b32 %r22, %f22; mov.b32 %r23, %f23;"
FLOAT_RESULT = "{%f20, %f21, %f22, %f23}"
RESULT = "{%r20, %r21, %r22, %r23}"


def kernel(body: str) -> str:
    """One thread per row of eight input words, %r10 to %r17 and %f10 to %f17; four words out,
    from %r20 to %r23. The object's handle is in %d0."""
    return _PROLOGUE + body + _EPILOGUE


def run(cuda: Driver, body: str, object: int, rows: np.ndarray) -> tuple[int, np.ndarray]:
    """Launches ``kernel(body)`` over rows of up to eight words; (code, four words per row)."""
    given = np.zeros((len(rows), 8), np.uint32)
    words = np.ascontiguousarray(rows)
    given[:, : words.shape[1]] = words.view(np.uint32)
    function = cuda.function(cuda.module(kernel(body)), "k")
    source, out = cuda.upload(given.tobytes()), cuda.alloc(16 * len(rows))
    cuda.cuMemsetD32_v2(out, 0xDEADBEEF, 4 * len(rows))
    code = cuda.launch(
        function, (-(-len(rows) // 64), 1, 1), (64, 1, 1), ctypes.c_uint64(object),
        ctypes.c_uint64(source), ctypes.c_uint64(out), ctypes.c_uint32(len(rows)),
    )  # fmt: skip
    if code := code or cuda.code("cuCtxSynchronize"):
        return code, np.zeros((0, 4), np.uint32)
    data = np.frombuffer(cuda.download(out, 16 * len(rows)), np.uint32)
    cuda.cuMemFree_v2(source)
    cuda.cuMemFree_v2(out)
    return 0, data.reshape(-1, 4)


# -- the model: CUDA C++ Programming Guide, appendix "Texture Fetching" ---------------------------


@dataclass
class Sampling:
    """How a texture is read; coordinates are in the order x, y, z."""

    modes: Sequence[int] = (CLAMP, CLAMP, CLAMP)
    linear: bool = False
    normalized: bool = False
    border: np.ndarray = field(default_factory=lambda: np.zeros(4))


def _taps(
    at: np.ndarray, size: int, mode: int, linear: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(texel, weight) pairs along one axis; texel -1 is the border."""
    if linear:
        shifted = np.floor(at * 256 + 0.5) / 256 - 0.5  # 8 bits of fraction
        first = np.floor(shifted)
        fraction = shifted - first
        pairs = ((first, 1 - fraction), (first + 1, fraction))
    else:
        pairs = ((np.floor(at), np.ones(at.shape)),)
    for texel, weight in pairs:
        index = texel.astype(np.int64)
        if mode == WRAP:
            index = index % size
        elif mode == MIRROR:
            index = index % (2 * size)
            index = np.where(index < size, index, 2 * size - 1 - index)
        elif mode == BORDER:
            index = np.where((index < 0) | (index >= size), -1, index)
        else:
            index = np.clip(index, 0, size - 1)
        yield index, weight


def fetch(data: np.ndarray, at: np.ndarray, how: Sampling) -> np.ndarray:
    """``data``: (..., z, y, x, channel) as values; ``at``: (n, axes); result: (n, channel)."""
    axes = at.shape[1]
    sizes = data.shape[-2::-1][:axes]
    volume = data.reshape((1,) * (4 - data.ndim) + data.shape).astype(np.float64)
    per_axis = []
    for axis, size in enumerate(sizes):
        position = at[:, axis].astype(np.float64) * (size if how.normalized else 1)
        mode = how.modes[axis]
        if not how.normalized and mode in (WRAP, MIRROR):
            mode = CLAMP
        per_axis.append(list(_taps(position, size, mode, how.linear)))
    zeros = np.zeros(len(at), np.int64)
    per_axis += [[(zeros, np.ones(len(at)))]] * (3 - axes)
    total = np.zeros((len(at), data.shape[-1]))
    for z, wz in per_axis[2]:
        for y, wy in per_axis[1]:
            for x, wx in per_axis[0]:
                texels = volume[z, y, x]
                outside = (x < 0) | (y < 0) | (z < 0)
                texels = np.where(outside[:, None], how.border[: data.shape[-1]], texels)
                total += (wx * wy * wz)[:, None] * texels
    return total.astype(np.float32)
