"""Images that lie: a clean error, never a read beyond the memory that holds them."""

import ctypes
import mmap
import struct
from pathlib import Path

import pytest

from harness import clients, kernels, workers
from harness import driver as d
from softgpu import child
from softgpu.images import FATBIN_MAGIC, WRAPPER_MAGIC, cubin, fatbin

INVALID_SOURCE = 300
CLEAN = (d.INVALID_IMAGE, d.NO_BINARY_FOR_GPU, d.INVALID_PTX, INVALID_SOURCE)

#: Kept alive: the pages that images lie in.
pages = []


def at_the_end_of_memory(image: bytes) -> int:
    """The address of a copy whose last byte is the last one that can be read."""
    size = -(-len(image) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size + mmap.PAGESIZE)
    pages.append(memory)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    memory[size - len(image) : size] = image
    libc = ctypes.CDLL(None)
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert libc.mprotect(begin + size, mmap.PAGESIZE, 0) == 0
    return begin + size - len(image)


def with_field(image: bytes, at: int, form: str, value: int) -> bytes:
    return image[:at] + struct.pack(form, value) + image[at + struct.calcsize(form) :]


TEXT = (kernels.HEADER + kernels.FILL).encode()
ELF = cubin(b"k")


def compressed(size: int) -> bytes:
    """A fat binary whose PTX claims to be LZ4 and of that size."""
    image = with_field(fatbin(TEXT, kind=1), 16 + 16, "<I", len(TEXT))
    return with_field(with_field(image, 16 + 40, "<Q", 0x2011), 16 + 56, "<Q", size)


LIES = {
    "a fat binary of a tebibyte": with_field(fatbin(ELF), 8, "<Q", 1 << 40),
    "a fat binary of all bytes": with_field(fatbin(ELF), 8, "<Q", (1 << 64) - 1),
    "a fat binary a page too long": with_field(fatbin(ELF), 8, "<Q", len(fatbin(ELF)) + 4096),
    "only a fat binary's magic": struct.pack("<I", FATBIN_MAGIC),
    "a header that is too short": with_field(fatbin(ELF), 6, "<H", 8),
    "an entry longer than its fat binary": with_field(fatbin(ELF), 16 + 8, "<Q", 1 << 32),
    "an entry header of 2 GiB": with_field(fatbin(ELF), 16 + 4, "<I", 0x80000000),
    "a compressed entry of an exbibyte": compressed(1 << 60),
    "a compressed entry of a gibibyte": compressed(1 << 30),
    "a cubin whose sections are elsewhere": with_field(ELF, 40, "<Q", 1 << 40),
    "a cubin with 65535 sections": with_field(ELF, 60, "<H", 0xFFFF),
    "a cubin with a section of an exbibyte": with_field(ELF, len(ELF) - 32, "<Q", 1 << 60),
    "only an ELF's magic": b"\x7fELF",
    "a wrapper alone": struct.pack("<I", WRAPPER_MAGIC),
    "a wrapper around nothing": struct.pack("<IIQQ", WRAPPER_MAGIC, 1, 4096, 0),
    "a wrapper's list of nowhere": None,
    "one byte": b"x",
    "no text": b"\0",
}


def image_of(name: str) -> int:
    image = LIES[name]
    if image is None:
        inner = at_the_end_of_memory(fatbin(TEXT, kind=1))
        image = struct.pack("<IIQQ", WRAPPER_MAGIC, 2, inner, 4096)
    return at_the_end_of_memory(image)


@pytest.mark.parametrize("skip", ["0", "1"])
@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_refused(name, skip):
    def body(cuda):
        cuda.start()
        module = ctypes.c_void_p()
        before = memory_of_process()
        assert cuda.code("cuModuleLoadData", ctypes.byref(module), image_of(name)) in CLEAN
        library = ctypes.c_void_p()
        arguments = (image_of(name), None, None, 0, None, None, 0)
        assert cuda.code("cuLibraryLoadData", ctypes.byref(library), *arguments) in CLEAN
        assert memory_of_process() - before < 64 << 20

    child.run(body, VGPU_SOFT_SKIP_SASS=skip)


def memory_of_process() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def test_a_true_image_at_the_end_of_memory_is_read():
    def body(cuda):
        cuda.start()
        for image in (TEXT + b"\0", fatbin(TEXT, kind=1)):
            module = cuda.out("cuModuleLoadData", ctypes.c_void_p, at_the_end_of_memory(image))
            assert cuda.function(module, "fill")

    child.run(body)


def test_lies_through_the_stub():
    body = """
from softgpu import test_images
cuda.start()
module = ctypes.c_void_p()
for name in test_images.LIES:
    image = test_images.image_of(name)
    code = cuda.code("cuModuleLoadData", ctypes.byref(module), image)
    assert code in test_images.CLEAN, (name, code)
print("all refused")
"""
    with workers.worker() as running:
        assert clients.run(running.address, body) == "all refused"
