"""Textures and surfaces against a model of the documented fetching."""

import ctypes
import itertools

import numpy as np

from harness import driver as d
from harness import images
from harness.images import (
    BILINEAR,
    BORDER,
    CLAMP,
    CUBEMAP,
    LAYERED,
    MIRROR,
    NORMALIZED,
    POINT,
    READ_AS_INTEGER,
    SRGB,
    SURFACE,
    WRAP,
    Sampling,
)

LAUNCH_FAILED = 719
MISALIGNED_ADDRESS = 716
RANDOM = np.random.default_rng(7)
COORDINATES = {1: "{%f10}", 2: "{%f10, %f11}", 3: "{%f10, %f11, %f12, %f12}"}


def fetch(kind, coordinates, suffix=""):
    return f"tex.{kind}.v4.f32.f32 {images.FLOAT_RESULT}, [%d0, {coordinates}]{suffix};" + (
        images.FLOATS
    )


def places(sizes, count=96):
    """Positions around and inside an image, exact texel borders and centres among them."""
    spread = RANDOM.uniform(-0.6, 1.6, (count, len(sizes))) * sizes
    spread[: count // 3] = np.round(spread[: count // 3] * 2) / 2
    return spread.astype(np.float32)


def agree(got, wanted):
    """Equal but for the last bit: sums are rounded once, the order of their terms is free."""
    np.testing.assert_array_max_ulp(got, wanted, 1)


def check_fetches(cuda, data, how, border=(0.0, 0.0, 0.0, 0.0)):
    axes = data.ndim - 1
    array = images.create(cuda, data)
    texture = images.texture(
        cuda,
        images.of_array(array),
        modes=how.modes,
        filter=BILINEAR if how.linear else POINT,
        flags=NORMALIZED if how.normalized else 0,
        border=border,
    )
    sizes = np.array(data.shape[-2::-1])
    at = places(sizes)
    if how.normalized:
        at = (at / sizes).astype(np.float32)
    code, words = images.run(cuda, fetch(f"{axes}d", COORDINATES[axes]), texture, at)
    assert code == 0
    agree(words.view(np.float32)[:, : data.shape[-1]], images.fetch(data, at, how))
    cuda.cuTexObjectDestroy(texture)
    cuda.cuArrayDestroy(array)


def test_filters_and_address_modes(cuda):
    cuda.start()
    for axes, linear in itertools.product((1, 2, 3), (False, True)):
        data = RANDOM.random((*(3, 5, 7)[3 - axes :], 2), np.float32)
        for mode in (CLAMP, BORDER):
            check_fetches(cuda, data, Sampling((mode,) * 3, linear))
        for mode in (WRAP, CLAMP, MIRROR, BORDER):
            check_fetches(cuda, data, Sampling((mode,) * 3, linear, True))
    mixed = Sampling((WRAP, MIRROR, CLAMP), True, True)
    check_fetches(cuda, RANDOM.random((4, 4, 4, 1), np.float32), mixed)


def test_modes_of_normalized_coordinates_clamp_others(cuda):
    cuda.start()
    data = RANDOM.random((5, 6, 1), np.float32)
    check_fetches(cuda, data, Sampling((WRAP, MIRROR, CLAMP), True))


def test_border_colour(cuda):
    cuda.start()
    border = (0.25, -3.0, 7.5, 1.0)
    data = RANDOM.random((5, 6, 4), np.float32)
    for linear in (False, True):
        how = Sampling((BORDER, BORDER, CLAMP), linear, border=np.array(border))
        check_fetches(cuda, data, how, border)


def random_texels(name, shape):
    if name.startswith("float"):
        return RANDOM.standard_normal(shape).astype(name)
    limits = np.iinfo(name)
    return RANDOM.integers(limits.min, limits.max, shape, name, endpoint=True)


def as_fractions(data):
    """What reading as normalized floats makes of 8- and 16-bit integers."""
    most = np.iinfo(data.dtype).max
    return np.maximum(data.astype(np.float32) / np.float32(most), np.float32(-1))


def test_formats(cuda):
    cuda.start()
    for name, channels in itertools.product(images.FORMATS, (1, 2, 4)):
        data = random_texels(name, (3, 4, channels))
        array = images.create(cuda, data)
        np.testing.assert_array_equal(images.download(cuda, array, data), data)
        y, x = np.mgrid[0:3, 0:4]
        at = np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)
        texels = data.reshape(-1, channels)
        if name.startswith("float"):
            wanted = texels.astype(np.float32)
        else:
            wanted = texels.astype(np.int64).astype(np.uint32)
        resource = images.of_array(array)
        raw = images.texture(cuda, resource, flags=READ_AS_INTEGER)
        body = f"tex.2d.v4.s32.f32 {images.RESULT}, [%d0, {COORDINATES[2]}];"
        code, words = images.run(cuda, body, raw, at)
        assert code == 0
        np.testing.assert_array_equal(words[:, :channels].view(wanted.dtype), wanted)
        if not name.startswith("float") and "32" not in name:
            fractions = as_fractions(data)
            how = Sampling(linear=True)
            smooth = images.texture(cuda, resource, filter=BILINEAR)
            between = places(np.array([4, 3]), 32)
            code, words = images.run(cuda, fetch("2d", COORDINATES[2]), smooth, between)
            assert code == 0
            agree(words.view(np.float32)[:, :channels], images.fetch(fractions, between, how))


def test_half_is_filtered(cuda):
    cuda.start()
    data = RANDOM.standard_normal((4, 5, 2)).astype(np.float16)
    check_fetches(cuda, data, Sampling(linear=True))


def test_srgb(cuda):
    cuda.start()
    data = np.arange(256, dtype=np.uint8).reshape(16, 4, 4)
    texture = images.texture(cuda, images.of_array(images.create(cuda, data)), flags=SRGB)
    y, x = np.mgrid[0:16, 0:4]
    at = np.stack([x.ravel(), y.ravel()], 1).astype(np.float32)
    code, words = images.run(cuda, fetch("2d", COORDINATES[2]), texture, at)
    assert code == 0
    part = data.reshape(-1, 4) / 255.0
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    linear[:, 3] = part[:, 3]
    agree(words.view(np.float32), linear.astype(np.float32))


def test_integer_coordinates_offsets_and_gathers(cuda):
    cuda.start()
    data = RANDOM.random((5, 6, 4), np.float32)
    texture = images.texture(cuda, images.of_array(images.create(cuda, data)), filter=BILINEAR)
    index = RANDOM.integers(-2, 8, (64, 2), np.int32)
    body = f"tex.2d.v4.f32.s32 {images.FLOAT_RESULT}, [%d0, {{%r10, %r11}}];" + images.FLOATS
    code, words = images.run(cuda, body, texture, index)
    assert code == 0
    x, y = np.clip(index[:, 0], 0, 5), np.clip(index[:, 1], 0, 4)
    np.testing.assert_array_equal(words.view(np.float32), data[y, x])
    at = places(np.array([6, 5]))
    code, words = images.run(cuda, fetch("2d", COORDINATES[2], ", {2, -1}"), texture, at)
    assert code == 0
    agree(
        words.view(np.float32), images.fetch(data, at + np.float32((2, -1)), Sampling(linear=True))
    )
    body = f"tld4.b.2d.v4.f32.f32 {images.FLOAT_RESULT}, [%d0, {COORDINATES[2]}];" + images.FLOATS
    code, words = images.run(cuda, body, texture, at)
    assert code == 0
    first = np.floor(np.floor(at * 256.0 + 0.5) / 256 - 0.5).astype(int)
    for k, (dx, dy) in enumerate(((0, 1), (1, 1), (1, 0), (0, 0))):
        x, y = np.clip(first[:, 0] + dx, 0, 5), np.clip(first[:, 1] + dy, 0, 4)
        np.testing.assert_array_equal(words.view(np.float32)[:, k], data[y, x, 2])


def test_layers(cuda):
    cuda.start()
    data = RANDOM.random((3, 5, 6, 1), np.float32)
    how = Sampling(linear=True)
    at = places(np.array([6, 5]))
    layer = RANDOM.integers(0, 5, len(at)).astype(np.uint32)  # beyond the last: the last
    rows = np.column_stack([at.view(np.uint32), layer])
    texture = images.texture(
        cuda, images.of_array(images.create(cuda, data, LAYERED)), filter=BILINEAR
    )
    body = fetch("a2d", "{%r12, %f10, %f11, %f11}")
    code, words = images.run(cuda, body, texture, rows)
    assert code == 0
    wanted = np.stack([images.fetch(one, at, how) for one in data])
    agree(words.view(np.float32)[:, :1], wanted[np.minimum(layer, 2), np.arange(len(at))])
    lines = RANDOM.random((4, 6, 1), np.float32)
    shape = images.create(cuda, lines, LAYERED, 1)
    np.testing.assert_array_equal(images.download(cuda, shape, lines), lines)
    texture = images.texture(cuda, images.of_array(shape), filter=BILINEAR)
    code, words = images.run(cuda, fetch("a1d", "{%r12, %f10}"), texture, rows)
    assert code == 0
    wanted = np.stack([images.fetch(one, at[:, :1], how) for one in lines])
    agree(words.view(np.float32)[:, :1], wanted[np.minimum(layer, 3), np.arange(len(at))])


#: the guide's table: axis and sign of the face, then s and t as (axis, sign)
FACES = (
    (0, 1, (2, -1), (1, -1)), (0, -1, (2, 1), (1, -1)), (1, 1, (0, 1), (2, 1)),
    (1, -1, (0, 1), (2, -1)), (2, 1, (0, 1), (1, -1)), (2, -1, (0, -1), (1, -1)),
)  # fmt: skip


def test_cube_maps(cuda):
    cuda.start()
    data = RANDOM.random((12, 8, 8, 1), np.float32)
    at = RANDOM.standard_normal((128, 3)).astype(np.float32)
    where = RANDOM.integers(0, 2, len(at)).astype(np.uint32)
    largest = np.abs(at).argmax(1)
    face = largest * 2 + (at[np.arange(len(at)), largest] < 0)
    place = np.zeros((len(at), 2), np.float32)
    for i, f in enumerate(face):
        axis, sign, s, t = FACES[f]
        m = at[i, axis] * np.float32(sign)
        for k, (source, direction) in enumerate((s, t)):
            place[i, k] = (at[i, source] * np.float32(direction) / m + 1) / 2
    how = Sampling(linear=True, normalized=True)
    wanted = np.stack([images.fetch(one, place, how) for one in data])
    rows = np.column_stack([at.view(np.uint32), where])
    for cubes, kind, coordinates in (
        (1, "cube", "{%f10, %f11, %f12, %f12}"),
        (2, "acube", "{%r13, %f10, %f11, %f12}"),
    ):
        flags = CUBEMAP | (LAYERED if cubes == 2 else 0)
        array = images.create(cuda, data[: 6 * cubes], flags)
        texture = images.texture(cuda, images.of_array(array), filter=BILINEAR, flags=NORMALIZED)
        code, words = images.run(cuda, fetch(kind, coordinates), texture, rows)
        assert code == 0
        slices = face + 6 * (where if cubes == 2 else 0)
        agree(words.view(np.float32)[:, :1], wanted[slices, np.arange(len(at))])


def test_linear_and_pitched_memory(cuda):
    cuda.start()
    line = RANDOM.integers(0, 1 << 16, (100, 2), np.uint16)
    address = cuda.upload(line.tobytes())
    texture = images.texture(cuda, images.of_linear(address, line), flags=READ_AS_INTEGER)
    index = np.arange(-4, 104, dtype=np.int32).reshape(-1, 1)
    body = f"tex.1d.v4.u32.s32 {images.RESULT}, [%d0, {{%r10}}];"
    code, words = images.run(cuda, body, texture, index)
    assert code == 0
    wanted = np.zeros((108, 2), np.uint32)
    wanted[4:104] = line
    np.testing.assert_array_equal(words[:, :2], wanted)
    plane = RANDOM.random((9, 24, 1), np.float32)
    padded = np.zeros((9, 32, 1), np.float32)
    padded[:, :24] = plane
    resource = images.of_pitched(cuda.upload(padded.tobytes()), plane, 128)
    texture = images.texture(cuda, resource, filter=BILINEAR)
    at = places(np.array([24, 9]))
    code, words = images.run(cuda, fetch("2d", COORDINATES[2]), texture, at)
    assert code == 0
    agree(words.view(np.float32)[:, :1], images.fetch(plane, at, Sampling(linear=True)))


def test_mip_levels(cuda):
    cuda.start()
    levels = [RANDOM.random((16 >> i, 8 >> i, 1), np.float32) for i in range(4)]
    shape = images.shape_of(levels[0])
    whole = cuda.out("cuMipmappedArrayCreate", ctypes.c_void_p, ctypes.byref(shape), 4)
    for i, data in enumerate(levels):
        level = cuda.out("cuMipmappedArrayGetLevel", ctypes.c_void_p, whole, i)
        seen = images.Shape()
        cuda.cuArray3DGetDescriptor_v2(ctypes.byref(seen), level)
        assert (seen.width, seen.height) == (8 >> i, 16 >> i)
        images.upload(cuda, level, data)
        np.testing.assert_array_equal(images.download(cuda, level, data), data)
        assert cuda.code("cuArrayDestroy", level) == d.INVALID_HANDLE
    none = ctypes.c_void_p()
    code = cuda.code("cuMipmappedArrayGetLevel", ctypes.byref(none), whole, 4)
    assert code == d.INVALID_VALUE
    at = (places(np.array([8, 16])) / np.float32((8, 16))).astype(np.float32)
    lod = RANDOM.uniform(-1, 5, len(at)).astype(np.float32)
    rows = np.column_stack([at, lod])
    how = Sampling(linear=True, normalized=True)
    texels = np.stack([images.fetch(data, at, how) for data in levels])
    resource = images.of_mipmap(whole)
    kind = {"filter": BILINEAR, "flags": NORMALIZED, "most": 3.0}
    smooth = images.texture(cuda, resource, level_filter=BILINEAR, **kind)
    body = fetch("level.2d", COORDINATES[2], ", %f12")
    code, words = images.run(cuda, body, smooth, rows)
    assert code == 0
    fixed = np.floor(np.clip(lod, 0, 3).astype(np.float64) * 256 + 0.5) / 256
    first = np.floor(fixed).astype(int)
    part = (fixed - first)[:, None]
    every = np.arange(len(at))
    wanted = texels[first, every] * (1 - part) + texels[np.minimum(first + 1, 3), every] * part
    np.testing.assert_allclose(words.view(np.float32)[:, :1], wanted, rtol=1e-6)
    nearest = images.texture(cuda, resource, bias=1.0, least=0.5, **kind)
    code, words = images.run(cuda, body, nearest, rows)
    assert code == 0
    level = np.floor(np.clip(lod.astype(np.float64) + 1, 0.5, 3) + 0.5).astype(int)
    agree(words.view(np.float32)[:, :1], texels[level, every])
    # Without a level the finest one is meant; gradients of two texels mean level 1.
    code, words = images.run(cuda, fetch("2d", COORDINATES[2]), smooth, rows)
    assert code == 0
    agree(words.view(np.float32)[:, :1], texels[0])
    rows = np.column_stack([at, np.full(len(at), 2 / 8), np.zeros(len(at)), np.zeros(len(at)),
                            np.full(len(at), 1 / 16)]).astype(np.float32)  # fmt: skip
    body = fetch("grad.2d", COORDINATES[2], ", {%f12, %f13}, {%f14, %f15}")
    code, words = images.run(cuda, body, smooth, rows)
    assert code == 0
    agree(words.view(np.float32)[:, :1], texels[1])
    view = images.View(0, 8, 16, 0, 1, 2, 0, 0)
    seen = images.View()
    viewed = images.texture(cuda, resource, view=view, **kind)
    cuda.cuTexObjectGetResourceViewDesc(ctypes.byref(seen), viewed)
    assert bytes(seen) == bytes(view)
    code, words = images.run(cuda, fetch("2d", COORDINATES[2]), viewed, at)
    assert code == 0
    agree(words.view(np.float32)[:, :1], texels[1])
    cuda.cuMipmappedArrayDestroy(whole)
    assert cuda.code("cuMipmappedArrayDestroy", whole) == d.INVALID_HANDLE


def surface(cuda, array):
    resource = images.of_array(array)
    return int(cuda.out("cuSurfObjectCreate", ctypes.c_uint64, ctypes.byref(resource)))


def test_surface_loads_and_stores(cuda):
    cuda.start()
    data = RANDOM.integers(0, 1 << 32, (4, 8, 1), np.uint32)
    array = images.create(cuda, data, SURFACE)
    handle = surface(cuda, array)
    x, y = (RANDOM.integers(low, high, 64).astype(np.int32) for low, high in ((-3, 12), (-2, 7)))
    rows = np.column_stack([4 * x, y])
    inside = (x >= 0) & (x < 8) & (y >= 0) & (y < 4)
    near = data[np.clip(y, 0, 3), np.clip(x, 0, 7), 0]
    body = "suld.b.2d.b32.{} {{%r20}}, [%d0, {{%r10, %r11}}];"
    code, words = images.run(cuda, body.format("clamp"), handle, rows)
    assert code == 0
    np.testing.assert_array_equal(words[:, 0], near)
    code, words = images.run(cuda, body.format("zero"), handle, rows)
    assert code == 0
    np.testing.assert_array_equal(words[:, 0], np.where(inside, near, 0))
    body = "add.u32 %r20, %r3, 7; sust.b.2d.b32.zero [%d0, {%r10, %r11}], {%r20};"
    code, _ = images.run(cuda, body, handle, rows)
    assert code == 0
    wanted = data.copy()
    for i in np.flatnonzero(inside):  # one of the writers of a texel wins: drop the others
        wanted[y[i], x[i]] = i + 7
    got = images.download(cuda, array, data)
    writers = np.zeros((4, 8), int)
    np.add.at(writers, (y[inside], x[inside]), 1)
    np.testing.assert_array_equal(got[writers < 2], wanted[writers < 2])
    body = "sured.b.add.2d.u32.trap [%d0, {4, 2}], 3;"
    code, _ = images.run(cuda, body, handle, rows)
    assert code == 0
    before = got[2, 1, 0]
    assert images.download(cuda, array, data)[2, 1, 0] == (int(before) + 3 * 64) % (1 << 32)


def test_surface_elements_of_every_size(cuda):
    cuda.start()
    cases = (
        ("b8", 1, np.uint8, 1, "{%h1}", "cvt.u32.u16 %r20, %h1;"),
        ("b16", 1, np.uint16, 1, "{%h1}", "cvt.u32.u16 %r20, %h1;"),
        ("v2.b16", 2, np.uint16, 2, "{%h1, %h2}", "mov.b32 %r20, {%h1, %h2};"),
        ("b64", 2, np.uint32, 1, "{%d9}", "mov.b64 {%r20, %r21}, %d9;"),
        ("v4.b32", 4, np.uint32, 4, images.RESULT, ""),
        ("v2.b64", 4, np.uint32, 2, "{%d9, %d10}",
         "mov.b64 {%r20, %r21}, %d9; mov.b64 {%r22, %r23}, %d10;"),
    )  # fmt: skip
    for kind, channels, dtype, _, result, tail in cases:
        data = RANDOM.integers(0, np.iinfo(dtype).max, (2, 3, 4, channels), dtype)
        array = images.create(cuda, data, SURFACE)
        handle = surface(cuda, array)
        z, y, x = (axis.ravel() for axis in np.mgrid[0:2, 0:3, 0:4])
        step = channels * data.itemsize
        rows = np.column_stack([x * step, y, z]).astype(np.int32)
        place = "[%d0, {%r10, %r11, %r12, %r12}]"
        code, words = images.run(
            cuda, f"suld.b.3d.{kind}.trap {result}, {place};{tail}", handle, rows
        )
        assert code == 0
        got = words.view(np.uint8)[:, :step]
        np.testing.assert_array_equal(got, data.reshape(24, -1).view(np.uint8))
        # Store every element one column to the right of where it was loaded.
        body = (
            f"suld.b.3d.{kind}.trap {result}, {place};"
            f"add.s32 %r10, %r10, {step}; sust.b.3d.{kind}.zero {place}, {result};"
        )
        code, _ = images.run(cuda, body, handle, rows[x % 2 == 0])
        assert code == 0
        wanted = data.copy()
        wanted[:, :, 1::2] = data[:, :, 0::2]
        np.testing.assert_array_equal(images.download(cuda, array, data), wanted)


def test_surfaces_see_layers(cuda):
    cuda.start()
    for flags in (LAYERED | SURFACE, CUBEMAP | SURFACE):
        data = RANDOM.integers(0, 1 << 32, (6, 4, 4, 1), np.uint32)
        handle = surface(cuda, images.create(cuda, data, flags))
        z, y, x = (axis.ravel() for axis in np.mgrid[0:6, 0:4, 0:4])
        rows = np.column_stack([4 * x, y, z]).astype(np.int32)
        body = "suld.b.a2d.b32.trap {%r20}, [%d0, {%r12, %r10, %r11, %r11}];"
        code, words = images.run(cuda, body, handle, rows)
        assert code == 0
        np.testing.assert_array_equal(words[:, 0], data.ravel())


def test_a_surface_traps_outside(cuda):
    cuda.start()
    array = images.create(cuda, np.zeros((4, 8, 1), np.float32), SURFACE)
    rows = np.array([[32, 0]], np.int32)
    body = "suld.b.2d.b32.trap {%r20}, [%d0, {%r10, %r11}];"
    assert images.run(cuda, body, surface(cuda, array), rows)[0] == LAUNCH_FAILED


def test_a_misaligned_surface_access(cuda):
    cuda.start()
    array = images.create(cuda, np.zeros((4, 8, 1), np.float32), SURFACE)
    rows = np.array([[2, 0]], np.int32)
    body = "suld.b.2d.b32.trap {%r20}, [%d0, {%r10, %r11}];"
    assert images.run(cuda, body, surface(cuda, array), rows)[0] == MISALIGNED_ADDRESS


def test_a_wrong_handle_faults(cuda):
    cuda.start()
    at = np.zeros((1, 2), np.float32)
    code, _ = images.run(cuda, fetch("2d", COORDINATES[2]), 0x1234, at)
    assert code == d.ILLEGAL_ADDRESS


def test_a_destroyed_texture_faults(cuda):
    cuda.start()
    array = images.create(cuda, np.ones((4, 8, 1), np.float32))
    texture = images.texture(cuda, images.of_array(array))
    at = np.zeros((1, 2), np.float32)
    body = fetch("2d", COORDINATES[2])
    assert images.run(cuda, body, texture, at)[0] == 0
    cuda.cuTexObjectDestroy(texture)
    assert cuda.code("cuTexObjectDestroy", texture) == d.INVALID_VALUE
    # Through the stub a texture ends after the work before it, and work after it does not wait for
    # that: CUDA promises nothing to those who use what they have destroyed.
    cuda.cuCtxSynchronize()
    assert images.run(cuda, body, texture, at)[0] == d.ILLEGAL_ADDRESS


def test_a_texture_of_freed_memory_faults(cuda):
    cuda.start()
    line = np.ones((256, 1), np.float32)
    address = cuda.upload(line.tobytes())
    texture = images.texture(cuda, images.of_linear(address, line))
    cuda.cuMemFree_v2(address)
    body = f"tex.1d.v4.f32.s32 {images.FLOAT_RESULT}, [%d0, {{%r10}}];"
    code, _ = images.run(cuda, body, texture, np.zeros((1, 1), np.int32))
    assert code in (d.ILLEGAL_ADDRESS, d.SUCCESS)  # freed memory may be kept mapped


def test_a_texture_dropped_after_the_launch(cuda):
    """The launch that came before still reads it."""
    cuda.start()
    data = RANDOM.random((4, 8, 1), np.float32)
    array = images.create(cuda, data)
    texture = images.texture(cuda, images.of_array(array))
    function = cuda.function(cuda.module(images.kernel(fetch("2d", COORDINATES[2]))), "k")
    source, out = cuda.upload(bytes(32 * 64)), cuda.alloc(16 * 64)
    arguments = [ctypes.c_uint64(v) for v in (texture, source, out)] + [ctypes.c_uint32(64)]
    assert cuda.launch(function, (1, 1, 1), (64, 1, 1), *arguments) == 0
    cuda.cuTexObjectDestroy(texture)
    cuda.cuArrayDestroy(array)
    words = np.frombuffer(cuda.download(out, 16 * 64), np.float32)
    assert words[0] == data[0, 0, 0]


def test_copies_of_one_row(cuda):
    cuda.start()
    data = RANDOM.integers(0, 256, (64, 1), np.uint8)
    array = images.create(cuda, data, dimensions=1)
    host = ctypes.create_string_buffer(64)
    cuda.cuMemcpyHtoA_v2(array, 16, b"\x05" * 8, 8)
    cuda.cuMemcpyAtoH_v2(host, array, 8, 32)
    wanted = data.tobytes()[:16] + b"\x05" * 8 + data.tobytes()[24:]
    assert host.raw[:32] == wanted[8:40]
    device = cuda.upload(bytes(range(64)))
    cuda.cuMemcpyDtoA_v2(array, 0, device, 16)
    cuda.cuMemcpyAtoD_v2(device, array, 8, 24)
    assert cuda.download(device, 24) == (bytes(range(16)) + wanted[16:])[8:32]
    other = images.create(cuda, data, dimensions=1)
    cuda.cuMemcpyAtoA_v2(other, 32, array, 0, 32)
    stream = cuda.stream()
    cuda.cuMemcpyHtoAAsync_v2(other, 0, b"\x09" * 4, 4, stream)
    cuda.cuMemcpyAtoHAsync_v2(host, other, 0, 64, stream)
    cuda.cuStreamSynchronize(stream)
    row = bytes(range(16)) + wanted[16:32]
    assert host.raw == b"\x09" * 4 + data.tobytes()[4:32] + row
    assert cuda.code("cuMemcpyHtoA_v2", array, 60, b"\0" * 8, 8) == d.INVALID_VALUE


def test_copies_stay_inside(cuda):
    cuda.start()
    data = RANDOM.random((3, 4, 5, 2), np.float32)
    array = images.create(cuda, data)
    part = np.zeros((2, 3, 2, 2), np.float32)
    copy = images.Copy(
        from_type=images.IN_ARRAY, from_array=array, from_x=8, from_y=1, from_z=1,
        to_type=images.HOST, to_host=part.ctypes.data, to_pitch=16, to_height=3,
        width=16, height=3, depth=2,
    )  # fmt: skip
    cuda.cuMemcpy3D_v2(ctypes.byref(copy))
    np.testing.assert_array_equal(part, data[1:3, 1:4, 1:3])
    for name in ("from_x", "from_y", "from_z"):
        kept = getattr(copy, name)
        setattr(copy, name, kept + 24)
        assert cuda.code("cuMemcpy3D_v2", ctypes.byref(copy)) == d.INVALID_VALUE
        setattr(copy, name, kept)
    copy.width = 12  # not whole elements
    assert cuda.code("cuMemcpy3D_v2", ctypes.byref(copy)) == d.INVALID_VALUE


def test_descriptions_come_back(cuda):
    cuda.start()
    array = images.create(cuda, np.zeros((4, 8, 2), np.float32), SURFACE)
    resource = images.of_array(array)
    texture = images.texture(cuda, resource, modes=(WRAP, BORDER, MIRROR), flags=NORMALIZED)
    seen, described = images.Resource(), images.Description()
    cuda.cuTexObjectGetResourceDesc(ctypes.byref(seen), texture)
    assert (seen.type, seen.words[0]) == (images.ARRAY, array)
    cuda.cuTexObjectGetTextureDesc(ctypes.byref(described), texture)
    assert (tuple(described.modes), described.flags) == ((WRAP, BORDER, MIRROR), NORMALIZED)
    view = images.View()
    code = cuda.code("cuTexObjectGetResourceViewDesc", ctypes.byref(view), texture)
    assert code == d.INVALID_VALUE
    handle = surface(cuda, array)
    seen = images.Resource()
    cuda.cuSurfObjectGetResourceDesc(ctypes.byref(seen), handle)
    assert seen.words[0] == array
    cuda.cuSurfObjectDestroy(handle)
    assert cuda.code("cuSurfObjectDestroy", handle) == d.INVALID_VALUE
    width = cuda.out("cuDeviceGetTexture1DLinearMaxWidth", ctypes.c_size_t, 0x20, 4, 0)
    assert width >= 1 << 27


def test_what_cannot_be_made(cuda):
    cuda.start()
    out = ctypes.c_uint64()
    plain = images.of_array(images.create(cuda, np.zeros((4, 8, 1), np.float32)))
    assert cuda.code("cuSurfObjectCreate", ctypes.byref(out), ctypes.byref(plain)) == (
        d.INVALID_VALUE
    )  # without the flag for loads and stores
    numbers = images.of_array(images.create(cuda, np.zeros((4, 8, 1), np.int32)))
    smooth = images.Description(filter=BILINEAR)
    arguments = (ctypes.byref(out), ctypes.byref(numbers), ctypes.byref(smooth), None)
    assert cuda.code("cuTexObjectCreate", *arguments) == d.INVALID_VALUE
    nothing = images.of_array(0x123)
    arguments = (ctypes.byref(out), ctypes.byref(nothing), ctypes.byref(smooth), None)
    assert cuda.code("cuTexObjectCreate", *arguments) == d.INVALID_HANDLE
    line = np.zeros((64, 1), np.float32)
    odd = images.of_linear(cuda.upload(line.tobytes()) + 4, line)
    arguments = (ctypes.byref(out), ctypes.byref(odd), ctypes.byref(smooth), None)
    assert cuda.code("cuTexObjectCreate", *arguments) == d.INVALID_VALUE
    for shape in (
        images.Shape(8, 8, 5, 0x20, 1, CUBEMAP),  # not six faces
        images.Shape(8, 4, 6, 0x20, 1, CUBEMAP),  # faces that are not square
        images.Shape(8, 0, 4, 0x20, 1, 0),  # depth without height
        images.Shape(8, 8, 0, 0x20, 3, 0),  # three channels
        images.Shape(0, 0, 0, 0x20, 1, 0),
    ):
        handle = ctypes.c_void_p()
        code = cuda.code("cuArray3DCreate_v2", ctypes.byref(handle), ctypes.byref(shape))
        assert code == d.INVALID_VALUE


def test_queries(cuda):
    cuda.start()
    array = images.create(cuda, np.zeros((3, 4, 8, 1), np.float32), SURFACE | LAYERED)
    texture = images.texture(cuda, images.of_array(array), flags=NORMALIZED)
    row = np.zeros((1, 1), np.int32)
    body = (
        "txq.width.b32 %r20, [%d0]; txq.height.b32 %r21, [%d0];"
        "txq.array_size.b32 %r22, [%d0]; txq.normalized_coords.b32 %r23, [%d0];"
    )
    code, words = images.run(cuda, body, texture, row)
    assert (code, tuple(words[0])) == (0, (8, 4, 3, 1))
    body = "suq.width.b32 %r20, [%d0]; suq.height.b32 %r21, [%d0]; suq.array_size.b32 %r22, [%d0];"
    code, words = images.run(cuda, body, surface(cuda, array), row)
    assert (code, tuple(words[0][:3])) == (0, (8, 4, 3))
