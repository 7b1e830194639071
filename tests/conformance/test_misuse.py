"""Calls that cannot be right fail at the call, with the code CUDA documents, and do no harm."""

import ctypes

from harness import driver as d
from harness import kernels, probes

U32, U64, HANDLE = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
ONE = (1, 1, 1)
ref = ctypes.byref


def test_memory(cuda):
    cuda.start()
    memory, host = cuda.alloc(64), ctypes.create_string_buffer(64)
    value = d.INVALID_VALUE
    pitch, out = ctypes.c_size_t(), U64()
    assert cuda.code("cuMemAllocPitch_v2", ref(out), ref(pitch), 64, 4, 3) == value
    assert cuda.code("cuMemAllocPitch_v2", ref(out), ref(pitch), 0, 4, 4) == value
    assert cuda.code("cuMemAllocPitch_v2", ref(out), None, 64, 4, 4) == value
    assert cuda.code("cuMemcpyHtoD_v2", memory, None, 64) == value
    assert cuda.code("cuMemcpyDtoH_v2", None, memory, 64) == value
    assert cuda.code("cuMemcpyHtoD_v2", 0, host, 64) == value
    assert cuda.code("cuMemcpyDtoD_v2", memory, 0, 64) == value
    assert cuda.code("cuMemsetD8_v2", 0, 1, 64) == value
    assert cuda.code("cuMemsetD32_v2", memory + 2, 1, 4) == value
    assert cuda.code("cuMemsetD2D32_v2", memory, 2, 1, 4, 2) == value  # pitch below width
    assert cuda.code("cuMemcpyHtoDAsync_v2", memory, host, 64, HANDLE(0x7777)) == d.INVALID_HANDLE
    assert cuda.code("cuMemGetAddressRange_v2", None, None, 4096) == d.NOT_FOUND
    for name, arguments in {
        "cuMemcpyHtoD_v2": (memory, host, 0),
        "cuMemcpyDtoH_v2": (host, memory, 0),
        "cuMemsetD8_v2": (memory, 1, 0),
        "cuMemcpyDtoD_v2": (memory, memory, 0),
    }.items():
        assert cuda.code(name, *arguments) == 0
    assert cuda.download(cuda.upload(b"fine"), 4) == b"fine"


def test_streams_and_events(cuda):
    cuda.start()
    out, milliseconds = HANDLE(), ctypes.c_float()
    stream, event = cuda.stream(), cuda.event()
    value, handle = d.INVALID_VALUE, d.INVALID_HANDLE
    assert cuda.code("cuStreamCreate", ref(out), 2) == value
    assert cuda.code("cuStreamCreate", None, 0) == value
    assert cuda.code("cuEventCreate", ref(out), 8) == value
    assert cuda.code("cuEventCreate", ref(out), 4) == value  # interprocess needs no timing
    assert cuda.code("cuEventCreate", None, 0) == value
    assert cuda.code("cuStreamWaitEvent", stream, event, 2) == value
    assert cuda.code("cuEventRecordWithFlags", event, stream, 2) == value
    assert cuda.code("cuStreamWaitEvent", stream, None, 0) == handle
    assert cuda.code("cuEventRecord", None, stream) == handle
    assert cuda.code("cuEventQuery", None) == handle
    assert cuda.code("cuEventDestroy_v2", None) == handle
    assert cuda.code("cuStreamDestroy_v2", None) == handle
    assert cuda.code("cuEventElapsedTime", ref(milliseconds), event, event) == handle
    assert cuda.code("cuEventElapsedTime", None, event, event) == value
    assert cuda.code("cuStreamGetFlags", stream, None) == value
    assert cuda.code("cuStreamAddCallback", stream, None, None, 0) == value
    assert cuda.code("cuLaunchHostFunc", stream, None, None) == value
    cuda.cuStreamSynchronize(stream)


def test_an_event_of_another_context(cuda):
    cuda.start()
    event = cuda.event()
    cuda.out("cuCtxCreate_v2", HANDLE, 0, 0)
    stream = cuda.stream()
    assert cuda.code("cuEventRecord", event, stream) == d.INVALID_HANDLE
    cuda.cuStreamWaitEvent(stream, event, 0)  # waiting across contexts is allowed


def test_modules(cuda):
    cuda.start()
    module, out, size = cuda.module(kernels.ALL), HANDLE(), ctypes.c_size_t()
    value, handle = d.INVALID_VALUE, d.INVALID_HANDLE
    assert cuda.code("cuModuleGetFunction", ref(out), None, b"fill") == handle
    assert cuda.code("cuModuleGetFunction", ref(out), module, None) == value
    assert cuda.code("cuModuleGetFunction", None, module, b"fill") == value
    assert cuda.code("cuModuleGetFunction", ref(out), module, b"") == d.NOT_FOUND
    assert cuda.code("cuModuleGetGlobal_v2", ref(out), ref(size), None, b"answer") == handle
    assert cuda.code("cuModuleGetGlobal_v2", ref(out), ref(size), module, None) == value
    assert cuda.code("cuModuleUnload", None) == handle
    assert cuda.code("cuModuleLoad", ref(out), None) == value
    assert cuda.code("cuFuncGetAttribute", ref(ctypes.c_int()), 0, None) == handle
    assert cuda.code("cuFuncSetAttribute", None, 8, 1024) == handle


def test_function_attributes(cuda):
    cuda.start()
    fill = cuda.function(cuda.module(kernels.ALL), "fill")
    most = cuda.out("cuDeviceGetAttribute", ctypes.c_int, 97, 0)  # SHARED_MEMORY_PER_BLOCK_OPTIN
    value = d.INVALID_VALUE
    assert cuda.code("cuFuncGetAttribute", None, 0, fill) == value
    assert cuda.code("cuFuncSetAttribute", fill, 8, most + 1) == value
    assert cuda.code("cuFuncSetAttribute", fill, 8, -1) == value
    assert cuda.code("cuFuncSetAttribute", fill, 0, 128) == value  # read only
    assert cuda.code("cuFuncSetAttribute", fill, 9, 101) == value  # carveout: a percentage
    assert cuda.code("cuFuncSetAttribute", fill, 9, -2) == value
    for carveout in (-1, 0, 100):
        cuda.cuFuncSetAttribute(fill, 9, carveout)
        got = ctypes.c_int()
        cuda.cuFuncGetAttribute(ref(got), 9, fill)
        assert got.value == carveout


def launch_code(cuda, function, parameters, extra):
    return cuda.code("cuLaunchKernel", function, 1, 1, 1, 1, 1, 1, 0, None, parameters, extra)


def test_parameters_of_a_launch(cuda):
    cuda.start()
    fill = cuda.function(cuda.module(kernels.ALL), "fill")
    memory = U64(cuda.upload(bytes(4)))
    one = U32(1)
    given = (HANDLE * 3)(*[ctypes.addressof(x) for x in (memory, one, one)])
    packed, size = ctypes.create_string_buffer(16), ctypes.c_size_t(16)
    extra = (HANDLE * 5)(1, ctypes.addressof(packed), 2, ctypes.addressof(size), 0)
    unknown = (HANDLE * 5)(7, ctypes.addressof(packed), 2, ctypes.addressof(size), 0)
    assert launch_code(cuda, fill, None, None) == d.INVALID_VALUE
    assert launch_code(cuda, fill, given, extra) == d.INVALID_VALUE
    assert launch_code(cuda, fill, None, unknown) == d.INVALID_VALUE
    cuda.cuCtxSynchronize()
    assert launch_code(cuda, fill, given, None) == 0
    assert cuda.download(memory.value, 4) == (1).to_bytes(4, "little")


def test_more_threads_than_the_kernel_allows(cuda):
    cuda.start()
    small = cuda.function(cuda.module(probes.BOUNDED), "small")
    counter = U64(cuda.upload(bytes(4)))
    most = ctypes.c_int()
    cuda.cuFuncGetAttribute(ref(most), 0, small)
    assert most.value == 64
    code = cuda.launch(small, ONE, (65, 1, 1), counter)
    assert code in (d.INVALID_VALUE, d.LAUNCH_OUT_OF_RESOURCES)
    assert cuda.launch(small, ONE, (8, 8, 1), counter) == 0  # the product counts
    assert int.from_bytes(cuda.download(counter.value, 4), "little") == 64


def test_shared_memory_beyond_the_opt_in(cuda):
    cuda.start()
    reverse = cuda.function(cuda.module(kernels.ALL), "reverse")
    data = U64(cuda.upload(bytes(256)))
    fixed = 256
    plain = cuda.out("cuDeviceGetAttribute", ctypes.c_int, 8, 0)
    most = cuda.out("cuDeviceGetAttribute", ctypes.c_int, 97, 0)

    def launch(shared):
        return cuda.launch(reverse, ONE, (64, 1, 1), data, shared=shared)

    assert launch(plain - fixed) == 0
    assert launch(plain - fixed + 1) == d.INVALID_VALUE
    cuda.cuFuncSetAttribute(reverse, 8, most - fixed)
    assert launch(most - fixed) == 0
    assert launch(most - fixed + 1) == d.INVALID_VALUE
    assert cuda.code("cuFuncSetAttribute", reverse, 8, most - fixed + 1) == d.INVALID_VALUE
    cuda.cuFuncSetAttribute(reverse, 8, 1024)
    assert launch(1025) == d.INVALID_VALUE
    cuda.cuFuncSetAttribute(reverse, 8, 0)
    assert launch(1) == d.INVALID_VALUE
    cuda.cuCtxSynchronize()


def test_a_function_of_another_context(cuda):
    cuda.start()
    fill = cuda.function(cuda.module(kernels.ALL), "fill")
    cuda.out("cuCtxCreate_v2", HANDLE, 0, 0)
    out = U64(cuda.alloc(4))
    code = cuda.launch(fill, ONE, ONE, out, U32(1), U32(1))
    assert code in (d.INVALID_HANDLE, d.INVALID_CONTEXT)
