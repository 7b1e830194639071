"""What a fault of a kernel does to its context, to others, and how a program recovers."""

import ctypes

from harness import driver as d
from harness import kernels, probes

U32, U64, HANDLE = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
ONE = (1, 1, 1)
HostFunction = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def break_context(cuda):
    """Launches a kernel that stores where nothing is, and waits for the report."""
    assert cuda.launch(cuda.function(cuda.module(kernels.ALL), "wild"), ONE, ONE) == 0
    assert cuda.code("cuCtxSynchronize") == d.ILLEGAL_ADDRESS


def works(cuda):
    """Whether the current context executes a kernel and gives its result back."""
    fill = cuda.function(cuda.module(kernels.ALL), "fill")
    out = cuda.upload(bytes(64))
    assert cuda.launch(fill, ONE, (16, 1, 1), U64(out), U32(7), U32(16)) == 0
    return cuda.download(out, 64) == (7).to_bytes(4, "little") * 16


def test_every_kind_of_work_returns_the_error(cuda):
    cuda.start()
    module = cuda.module(kernels.ALL)
    fill = cuda.function(module, "fill")
    stream, event, memory = cuda.stream(), cuda.event(2), cuda.alloc(64)
    cuda.cuEventRecord(event, stream)
    break_context(cuda)
    out, word, text = HANDLE(), ctypes.c_size_t(), kernels.ALL.encode() + b"\0"
    ref, host = ctypes.byref, ctypes.create_string_buffer(64)
    codes = {
        "alloc": cuda.code("cuMemAlloc_v2", ref(out), 64),
        "alloc async": cuda.code("cuMemAllocAsync", ref(out), 64, stream),
        "alloc host": cuda.code("cuMemHostAlloc", ref(out), 64, 0),
        "free": cuda.code("cuMemFree_v2", memory),
        "info": cuda.code("cuMemGetInfo_v2", ref(word), ref(word)),
        "upload": cuda.code("cuMemcpyHtoD_v2", memory, host, 64),
        "download": cuda.code("cuMemcpyDtoH_v2", host, memory, 64),
        "upload async": cuda.code("cuMemcpyHtoDAsync_v2", memory, host, 64, stream),
        "copy": cuda.code("cuMemcpyDtoD_v2", memory, memory + 32, 32),
        "memset": cuda.code("cuMemsetD8_v2", memory, 1, 64),
        "launch": cuda.launch(fill, ONE, ONE, U64(memory), U32(1), U32(1)),
        "stream create": cuda.code("cuStreamCreate", ref(out), 0),
        "stream synchronize": cuda.code("cuStreamSynchronize", stream),
        "stream query": cuda.code("cuStreamQuery", stream),
        "stream wait": cuda.code("cuStreamWaitEvent", stream, event, 0),
        "event create": cuda.code("cuEventCreate", ref(out), 0),
        "event record": cuda.code("cuEventRecord", event, stream),
        "event query": cuda.code("cuEventQuery", event),
        "event synchronize": cuda.code("cuEventSynchronize", event),
        "module": cuda.code("cuModuleLoadData", ref(out), text),
        "synchronize": cuda.code("cuCtxSynchronize"),
    }
    assert codes == dict.fromkeys(codes, d.ILLEGAL_ADDRESS)


def test_questions_are_still_answered(cuda):
    context = cuda.start()
    break_context(cuda)
    assert cuda.out("cuCtxGetCurrent", HANDLE) == context
    assert cuda.out("cuCtxGetDevice", ctypes.c_int) == 0
    assert cuda.out("cuDeviceGetCount", ctypes.c_int) >= 1
    assert cuda.out("cuDeviceGetAttribute", ctypes.c_int, 10, 0) == 32
    assert cuda.out("cuDeviceTotalMem_v2", ctypes.c_size_t, 0) > 0
    cuda.cuCtxPushCurrent_v2(context)
    assert cuda.out("cuCtxPopCurrent_v2", HANDLE) == context
    name = ctypes.c_char_p()
    cuda.cuGetErrorName(d.ILLEGAL_ADDRESS, ctypes.byref(name))
    assert name.value == b"CUDA_ERROR_ILLEGAL_ADDRESS"


def test_destroying_a_broken_context_recovers(cuda):
    cuda.start()
    broken = cuda.out("cuCtxCreate_v2", HANDLE, 0, 0)
    break_context(cuda)
    cuda.code("cuCtxDestroy_v2", broken)  # may report the fault; the context goes all the same
    assert works(cuda)  # in the primary context, which is current again
    cuda.out("cuCtxCreate_v2", HANDLE, 0, 0)
    assert works(cuda)


def test_resetting_a_broken_primary_context_recovers(cuda):
    before = cuda.start()
    break_context(cuda)
    cuda.code("cuDevicePrimaryCtxReset_v2", 0)
    assert cuda.start() == before
    assert works(cuda)


def test_releasing_a_broken_primary_context_recovers(cuda):
    cuda.start()
    break_context(cuda)
    cuda.code("cuDevicePrimaryCtxRelease_v2", 0)
    cuda.start()
    assert works(cuda)


def test_other_contexts_go_on(cuda):
    cuda.start()
    cuda.out("cuCtxCreate_v2", HANDLE, 0, 0)
    break_context(cuda)
    broken = cuda.out("cuCtxPopCurrent_v2", HANDLE)
    assert works(cuda)
    if cuda.out("cuDeviceGetCount", ctypes.c_int) > 1:
        cuda.start(1)
        assert works(cuda)
    cuda.cuCtxSetCurrent(broken)
    assert cuda.code("cuCtxSynchronize") == d.ILLEGAL_ADDRESS


def test_work_behind_a_fault_is_not_done(cuda):
    cuda.start()
    module = cuda.module(kernels.ALL)
    spin, wild = cuda.function(module, "spin"), cuda.function(module, "wild")
    flag, stream, other = cuda.upload(bytes(8)), cuda.stream(), cuda.stream()
    called = []
    function = HostFunction(lambda user: called.append(user))
    assert cuda.launch(spin, ONE, ONE, U64(flag), stream=stream) == 0
    assert cuda.launch(wild, ONE, ONE, stream=stream) == 0
    cuda.cuLaunchHostFunc(stream, function, 1)
    cuda.cuMemsetD32Async(flag, 1, 1, other)
    assert cuda.code("cuStreamSynchronize", stream) == d.ILLEGAL_ADDRESS
    assert cuda.code("cuCtxSynchronize") == d.ILLEGAL_ADDRESS
    assert called == []


def test_a_misaligned_access_is_a_fault_of_its_own(cuda):
    cuda.start()
    misaligned = cuda.function(cuda.module(probes.ACCESS), "misaligned")
    assert cuda.launch(misaligned, ONE, ONE, U64(cuda.alloc(64))) == 0
    assert cuda.code("cuCtxSynchronize") == d.MISALIGNED_ADDRESS
    assert cuda.code("cuMemAlloc_v2", ctypes.byref(U64()), 64) == d.MISALIGNED_ADDRESS
