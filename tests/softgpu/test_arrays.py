"""Arrays: created, described, copied to and from."""

import ctypes

from harness import driver as d
from softgpu import child


class Description(ctypes.Structure):
    _fields_ = (
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
        ("format", ctypes.c_int),
        ("channels", ctypes.c_uint),
    )


class Copy(ctypes.Structure):
    _fields_ = (
        *((f"source_{n}", ctypes.c_size_t) for n in ("x", "y")),
        ("source_type", ctypes.c_int),
        *((f"source_{n}", ctypes.c_void_p) for n in ("host", "device", "array")),
        ("source_pitch", ctypes.c_size_t),
        *((f"target_{n}", ctypes.c_size_t) for n in ("x", "y")),
        ("target_type", ctypes.c_int),
        *((f"target_{n}", ctypes.c_void_p) for n in ("host", "device", "array")),
        ("target_pitch", ctypes.c_size_t),
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
    )


HOST, ARRAY = 1, 3
FLOAT = 0x20


def test_there_and_back():
    def body(cuda):
        cuda.start()
        wanted = Description(8, 4, FLOAT, 2)
        array = cuda.out("cuArrayCreate_v2", ctypes.c_void_p, ctypes.byref(wanted))
        got = Description()
        cuda.cuArrayGetDescriptor_v2(ctypes.byref(got), array)
        assert bytes(got) == bytes(wanted)
        data = bytes(range(256))
        host, back = ctypes.create_string_buffer(data, 256), ctypes.create_string_buffer(16)
        into = Copy(source_type=HOST, source_host=ctypes.addressof(host), width=64, height=4)
        into.target_type, into.target_array = ARRAY, array
        cuda.cuMemcpy2D_v2(ctypes.byref(into))
        out = Copy(source_type=ARRAY, source_array=array, source_x=8, source_y=1, width=8, height=2)
        out.target_type, out.target_host = HOST, ctypes.addressof(back)
        cuda.cuMemcpy2D_v2(ctypes.byref(out))
        assert back.raw == data[72:80] + data[136:144]
        out.source_y = 3
        assert cuda.code("cuMemcpy2D_v2", ctypes.byref(out)) == d.INVALID_VALUE
        cuda.cuArrayDestroy(array)
        assert cuda.code("cuArrayDestroy", array) == d.INVALID_HANDLE

    child.run(body)
