"""Libraries and their kernels: code that belongs to no context until it is used in one."""

import ctypes
import struct

import pytest

from harness import driver as d
from harness import kernels

U32, U64, HANDLE = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
ONE = (1, 1, 1)
ref = ctypes.byref


def load(cuda, text=kernels.ALL):
    return cuda.out(
        "cuLibraryLoadData", HANDLE, text.encode() + b"\0", None, None, 0, None, None, 0
    )


def kernel(cuda, library, name):
    return cuda.out("cuLibraryGetKernel", HANDLE, library, name.encode())


def name_of(cuda, handle):
    text = ctypes.c_char_p()
    cuda.cuKernelGetName(ref(text), handle)
    return text.value


def answer(cuda, library):
    """What the kernel `read_answer` finds in the module's global, in the current context."""
    out = cuda.alloc(4)
    assert cuda.launch(kernel(cuda, library, "read_answer"), ONE, ONE, U64(out)) == 0
    return struct.unpack("<I", cuda.download(out, 4))[0]


def test_names_and_numbers(cuda):
    cuda.start()
    library = load(cuda)
    count = cuda.out("cuLibraryGetKernelCount", ctypes.c_uint, library)
    handles = (HANDLE * count)()
    cuda.cuLibraryEnumerateKernels(handles, count, library)
    names = {name_of(cuda, handle) for handle in handles}
    assert {b"fill", b"increment", b"mixed", b"wild"} <= names
    assert len(names) == count
    mixed = kernel(cuda, library, "mixed")
    assert name_of(cuda, mixed) == b"mixed"
    assert cuda.out("cuKernelGetLibrary", HANDLE, mixed) == library
    offset, size = ctypes.c_size_t(), ctypes.c_size_t()
    layout = []
    while cuda.code("cuKernelGetParamInfo", mixed, len(layout), ref(offset), ref(size)) == 0:
        layout.append((offset.value, size.value))
    assert layout == [(0, 1), (8, 8), (16, 2), (24, 8), (32, 8)]


def test_attributes_of_a_kernel(cuda):
    cuda.start()
    reverse, value = kernel(cuda, load(cuda), "reverse"), ctypes.c_int()
    cuda.cuKernelGetAttribute(ref(value), 1, reverse, 0)  # SHARED_SIZE_BYTES
    assert value.value == 256
    cuda.cuKernelSetAttribute(8, 60 << 10, reverse, 0)  # MAX_DYNAMIC_SHARED_SIZE_BYTES
    cuda.cuKernelGetAttribute(ref(value), 8, reverse, 0)
    assert value.value == 60 << 10
    data = U64(cuda.upload(bytes(256)))
    assert cuda.launch(reverse, ONE, (64, 1, 1), data, shared=60 << 10) == 0
    assert cuda.launch(reverse, ONE, (64, 1, 1), data, shared=(60 << 10) + 1) == d.INVALID_VALUE
    cuda.cuKernelSetCacheConfig(reverse, 1, 0)
    assert cuda.code("cuKernelGetAttribute", ref(value), 999, reverse, 0) == d.INVALID_VALUE
    assert cuda.code("cuKernelGetAttribute", ref(value), 1, reverse, 99) == d.INVALID_DEVICE
    assert cuda.code("cuKernelSetAttribute", 0, 1, reverse, 0) == d.INVALID_VALUE
    cuda.cuCtxSynchronize()


def test_globals_belong_to_a_context(cuda):
    cuda.start()
    library = load(cuda)
    address, size = U64(), ctypes.c_size_t()
    cuda.cuLibraryGetGlobal(ref(address), ref(size), library, b"answer")
    cuda.cuMemcpyHtoD_v2(address.value, struct.pack("<I", 99), 4)
    assert answer(cuda, library) == 99
    cuda.out("cuCtxCreate_v2", HANDLE, 0, 0)
    assert answer(cuda, library) == 42
    cuda.cuCtxPopCurrent_v2(None)
    assert answer(cuda, library) == 99


def test_one_library_on_two_devices(cuda):
    cuda.cuInit(0)
    if cuda.out("cuDeviceGetCount", ctypes.c_int) < 2:
        pytest.skip("one device only: set VGPU_SOFT_DEVICES=2 or use a host with two GPUs")
    first = cuda.start(0)
    library = load(cuda)
    for ordinal in (1, 0):
        cuda.start(ordinal)
        assert answer(cuda, library) == 42
    cuda.cuCtxSetCurrent(first)
    assert answer(cuda, library) == 42


def test_from_a_file(cuda, tmp_path):
    cuda.start()
    path = tmp_path / "kernels.ptx"
    path.write_text(kernels.ALL)
    arguments = None, None, 0, None, None, 0
    library = cuda.out("cuLibraryLoadFromFile", HANDLE, str(path).encode(), *arguments)
    assert answer(cuda, library) == 42
    missing = str(tmp_path / "missing.ptx").encode()
    code = cuda.code("cuLibraryLoadFromFile", ref(HANDLE()), missing, *arguments)
    assert code == 301  # FILE_NOT_FOUND


def test_misuse(cuda):
    cuda.start()
    library, out, size = load(cuda), HANDLE(), ctypes.c_size_t()
    value, handle = d.INVALID_VALUE, d.INVALID_HANDLE
    options = None, None, 0, None, None, 0
    assert cuda.code("cuLibraryLoadData", ref(out), None, *options) == value
    assert cuda.code("cuLibraryLoadData", None, b"x\0", *options) == value
    assert cuda.code("cuLibraryGetKernel", ref(out), library, b"absent") == d.NOT_FOUND
    assert cuda.code("cuLibraryGetKernel", ref(out), None, b"fill") == handle
    assert cuda.code("cuLibraryGetKernel", ref(out), library, None) == value
    assert cuda.code("cuLibraryGetGlobal", ref(U64()), ref(size), library, b"no") == d.NOT_FOUND
    assert cuda.code("cuLibraryGetModule", ref(out), None) == handle
    assert cuda.code("cuKernelGetFunction", ref(out), None) == handle
    cuda.cuLibraryUnload(library)
    assert cuda.code("cuLibraryUnload", library) == handle
    assert cuda.code("cuLibraryGetKernel", ref(out), library, b"fill") == handle


def test_unloading_takes_the_kernels_along(cuda):
    cuda.start()
    library = load(cuda)
    increment, counter = kernel(cuda, library, "increment"), U64(cuda.upload(bytes(4)))
    assert cuda.launch(increment, ONE, (32, 1, 1), counter) == 0
    cuda.cuLibraryUnload(library)  # waits for what runs
    assert cuda.launch(increment, ONE, ONE, counter) == d.INVALID_HANDLE
    assert struct.unpack("<I", cuda.download(counter.value, 4)) == (32,)
