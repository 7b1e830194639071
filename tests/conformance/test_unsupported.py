"""What is not served says so at the call, by name, and leaves everything else at work."""

import ctypes

import pytest

from harness import driver as d
from harness import kernels, native

U32, U64, HANDLE = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
ONE = (1, 1, 1)
ref = ctypes.byref

#: an instruction of PTX that no software executes here, beside a kernel that works
RARE = kernels.HEADER + kernels.FILL + """
.visible .entry rare()
{
  tcgen05.wait::ld.sync.aligned;
  ret;
}
"""  # fmt: skip


@pytest.fixture
def software(driver_path):
    if driver_path != native.softgpu():
        pytest.skip("a GPU may execute it: run it on the software GPU")


def named(cuda, functions, name):
    for function in functions:
        text = ctypes.c_char_p()
        cuda.cuFuncGetName(ref(text), function)
        if text.value == name:
            return function
    raise AssertionError(f"no {name!r}")


def fill_works(cuda, function):
    out = cuda.upload(bytes(4))
    assert cuda.launch(function, ONE, ONE, U64(out), U32(5), U32(1)) == 0
    return cuda.download(out, 4) == (5).to_bytes(4, "little")


def test_a_kernel_is_refused_when_it_is_looked_up(cuda, software):
    cuda.start()
    module, out = cuda.module(RARE), HANDLE()
    assert cuda.code("cuModuleGetFunction", ref(out), module, b"rare") == d.INVALID_PTX
    assert fill_works(cuda, cuda.function(module, "fill"))
    library = cuda.out(
        "cuLibraryLoadData", HANDLE, RARE.encode() + b"\0", None, None, 0, None, None, 0
    )
    assert cuda.code("cuLibraryGetKernel", ref(out), library, b"rare") == d.INVALID_PTX
    assert fill_works(cuda, cuda.out("cuLibraryGetKernel", HANDLE, library, b"fill"))


def test_an_enumerated_kernel_is_refused_when_it_is_loaded(cuda, software):
    cuda.start()
    module = cuda.module(RARE)
    functions = (HANDLE * 2)()
    cuda.cuModuleEnumerateFunctions(functions, 2, module)
    rare, fill = named(cuda, functions, b"rare"), named(cuda, functions, b"fill")
    assert cuda.code("cuFuncLoad", rare) == d.INVALID_PTX
    assert cuda.launch(rare, ONE, ONE) == d.INVALID_PTX
    cuda.cuCtxSynchronize()  # nothing comes late
    cuda.cuFuncLoad(fill)
    assert fill_works(cuda, fill)


def test_managed_memory_is_not_served(cuda):
    cuda.start()
    if cuda.out("cuDeviceGetAttribute", ctypes.c_int, 83, 0):
        pytest.skip("this driver serves managed memory: nothing to refuse")
    memory, stream = cuda.alloc(4096), cuda.stream()
    refused = (d.NOT_SUPPORTED, d.INVALID_VALUE, d.INVALID_DEVICE)
    assert cuda.code("cuMemAllocManaged", ref(U64()), 4096, 1) == d.NOT_SUPPORTED
    assert cuda.code("cuMemAdvise", memory, 4096, 1, 0) in refused
    assert cuda.code("cuMemPrefetchAsync", memory, 4096, 0, stream) in refused
    assert cuda.code("cuStreamAttachMemAsync", stream, memory, 4096, 4) in refused
    cuda.cuStreamSynchronize(stream)


def test_legacy_sharing_follows_its_attribute(cuda):
    cuda.start()
    if cuda.out("cuDeviceGetAttribute", ctypes.c_int, 125, 0):  # IPC_EVENT_SUPPORTED
        pytest.skip("this driver shares between processes: nothing to refuse")
    memory, handle, capable = cuda.alloc(4096), ctypes.create_string_buffer(64), ctypes.c_uint(9)
    assert cuda.code("cuIpcGetMemHandle", handle, memory) == d.NOT_SUPPORTED
    cuda.cuPointerGetAttribute(ref(capable), 10, memory)  # IS_LEGACY_CUDA_IPC_CAPABLE
    assert capable.value == 0
