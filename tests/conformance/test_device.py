import ctypes

from harness import driver as d


def test_init_is_needed_first(cuda):
    assert cuda.code("cuDeviceGetCount", ctypes.byref(ctypes.c_int())) == d.NOT_INITIALIZED
    assert cuda.code("cuInit", 1) == d.INVALID_VALUE
    cuda.cuInit(0)
    cuda.cuInit(0)


def test_count_name_memory_uuid(cuda):
    cuda.cuInit(0)
    count = cuda.out("cuDeviceGetCount", ctypes.c_int)
    assert count >= 1
    uuids = set()
    for ordinal in range(count):
        assert cuda.out("cuDeviceGet", ctypes.c_int, ordinal) == ordinal
        name = ctypes.create_string_buffer(128)
        cuda.cuDeviceGetName(name, 128, ordinal)
        assert name.value
        assert cuda.out("cuDeviceTotalMem_v2", ctypes.c_size_t, ordinal) >= 1 << 20
        uuid = ctypes.create_string_buffer(16)
        cuda.cuDeviceGetUuid_v2(uuid, ordinal)
        uuids.add(uuid.raw)
    assert len(uuids) == count
    assert cuda.code("cuDeviceGet", ctypes.byref(ctypes.c_int()), count) == d.INVALID_DEVICE


def test_name_is_cut_to_the_buffer(cuda):
    cuda.cuInit(0)
    whole, short = ctypes.create_string_buffer(128), ctypes.create_string_buffer(b"#" * 8)
    cuda.cuDeviceGetName(whole, 128, 0)
    cuda.cuDeviceGetName(short, 5, 0)
    assert short.raw[:4] == whole.raw[:4]
    assert short.raw[4:5] == b"\0"
    assert short.raw[5:] == b"###\0"


def test_attributes(cuda):
    cuda.cuInit(0)

    def attribute(which):
        return cuda.out("cuDeviceGetAttribute", ctypes.c_int, which, 0)

    assert attribute(10) == 32  # warp size
    assert attribute(1) == 1024  # threads per block
    assert attribute(75) >= 5  # capability major
    assert attribute(16) >= 1  # multiprocessors
    assert attribute(41) == 1  # unified addressing
    assert attribute(83) == 0  # managed memory: not served
    code = cuda.code("cuDeviceGetAttribute", ctypes.byref(ctypes.c_int()), 100_000, 0)
    assert code == d.INVALID_VALUE
    code = cuda.code("cuDeviceGetAttribute", ctypes.byref(ctypes.c_int()), 10, 99)
    assert code == d.INVALID_DEVICE


def test_driver_version(cuda):
    version = cuda.out("cuDriverGetVersion", ctypes.c_int)
    assert version >= 12000


def test_null_pointers_are_refused(cuda):
    cuda.cuInit(0)
    assert cuda.code("cuDeviceGetCount", None) == d.INVALID_VALUE
    assert cuda.code("cuDriverGetVersion", None) == d.INVALID_VALUE
    assert cuda.code("cuDeviceGetAttribute", None, 10, 0) == d.INVALID_VALUE


def test_error_names(cuda):
    text = ctypes.c_char_p()
    cuda.cuGetErrorName(700, ctypes.byref(text))
    assert text.value == b"CUDA_ERROR_ILLEGAL_ADDRESS"
    cuda.cuGetErrorString(2, ctypes.byref(text))
    assert text.value == b"out of memory"
    assert cuda.code("cuGetErrorName", 123456, ctypes.byref(text)) == d.INVALID_VALUE


def test_get_proc_address_gives_the_version_asked_for(cuda):
    cuda.cuInit(0)

    def look_up(symbol, version, flags=0):
        entry, status = ctypes.c_void_p(), ctypes.c_int(-1)
        code = cuda.code(
            "cuGetProcAddress_v2",
            symbol,
            ctypes.byref(entry),
            version,
            flags,
            ctypes.byref(status),
        )
        return code, entry.value, status.value

    code, entry, status = look_up(b"cuDeviceGetCount", 12000)
    assert (code, status) == (0, 0)
    count = ctypes.c_int()
    assert ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(entry)(ctypes.byref(count)) == 0
    assert count.value >= 1
    assert look_up(b"cuCtxGetDevice", 2000)[1] != look_up(b"cuCtxGetDevice", 13000)[1]
    assert look_up(b"cuStreamSynchronize", 12000)[1] != look_up(b"cuStreamSynchronize", 12000, 2)[1]
    code, entry, status = look_up(b"cuNoSuchFunction", 12000)
    assert code in (0, d.NOT_FOUND)  # documented: the status tells; older drivers: an error too
    assert entry is None
    assert status == 1
    code, entry, status = look_up(b"cuMemAllocAsync", 2000)
    assert code in (0, d.NOT_FOUND)
    assert entry is None
    assert status == 2  # the symbol exists in a newer version
