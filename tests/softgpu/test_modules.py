"""Images: linking, what has no PTX, and skipped SASS."""

import ctypes
import struct

import pytest

from harness import driver as d
from harness import kernels
from softgpu import child

CALLEE = (
    kernels.HEADER
    + """
.visible .func (.param .u32 result) twice(.param .u32 value)
{
  .reg .b32 %r<3>;
  ld.param.u32 %r1, [value];
  add.u32 %r2, %r1, %r1;
  st.param.u32 [result], %r2;
  ret;
}
"""
)
CALLER = (
    kernels.HEADER
    + """
.extern .func (.param .u32 result) twice(.param .u32 value);
.visible .entry run(.param .u64 out)
{
  .reg .b32 %r<3>; .reg .b64 %rd<2>;
  mov.u32 %r1, 21;
  { .param .u32 given; .param .u32 got;
    st.param.u32 [given], %r1;
    call (got), twice, (given);
    ld.param.u32 %r2, [got]; }
  ld.param.u64 %rd1, [out];
  st.global.u32 [%rd1], %r2;
  ret;
}
"""
)


def test_two_texts_link():
    def body(cuda):
        cuda.start()
        link = ctypes.c_void_p()
        cuda.cuLinkCreate_v2(0, None, None, ctypes.byref(link))
        for text in (CALLER, CALLEE):
            data = text.encode() + b"\0"
            cuda.cuLinkAddData_v2(link, 1, data, len(data), b"input", 0, None, None)
        image, size = ctypes.c_void_p(), ctypes.c_size_t()
        cuda.cuLinkComplete(link, ctypes.byref(image), ctypes.byref(size))
        module = cuda.out("cuModuleLoadData", ctypes.c_void_p, image)
        cuda.cuLinkDestroy(link)
        out = cuda.alloc(4)
        function = cuda.function(module, "run")
        assert cuda.launch(function, (1, 1, 1), (1, 1, 1), ctypes.c_uint64(out)) == 0
        assert cuda.download(out, 4) == struct.pack("<I", 42)

    child.run(body)


def test_an_unresolved_function_is_named():
    def body(cuda):
        cuda.start()
        function = cuda.function(cuda.module(CALLER), "run")
        out = ctypes.c_uint64(cuda.alloc(4))
        assert cuda.launch(function, (1, 1, 1), (1, 1, 1), out) == d.NO_BINARY_FOR_GPU

    assert "twice" in child.run(body).errors


def fatbin(*texts: str) -> bytes:
    """A fat binary of our own: uncompressed PTX entries."""
    entries = b""
    for text in texts:
        data = text.encode() + b"\0"
        data += bytes(-len(data) % 8)
        header = struct.pack("<HHIQIIHHIIIQQQ", 1, 0x0101, 64, len(data), 0, 0, 0, 6, 50, 0, 0,
                             0x11, 0, 0)  # fmt: skip
        entries += header + data
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entries)) + entries


def test_fat_binary_and_wrapper():
    def body(cuda):
        cuda.start()
        image = ctypes.create_string_buffer(fatbin(kernels.ALL))
        wrapper = ctypes.create_string_buffer(
            struct.pack("<IIQQ", 0x466243B1, 1, ctypes.addressof(image), 0)
        )
        for given in (image, wrapper):
            module = cuda.out("cuModuleLoadData", ctypes.c_void_p, given)
            assert cuda.function(module, "fill")
            assert cuda.out("cuModuleGetFunctionCount", ctypes.c_uint, module) == 9

    child.run(body)


def cubin(kernel: bytes) -> bytes:
    """The smallest ELF with one kernel symbol: no code in it."""
    names = b"\0.shstrtab\0.strtab\0.symtab\0.text." + kernel + b"\0"
    strings = b"\0" + kernel + b"\0"
    symbols = bytes(24) + struct.pack("<IBBHQQ", 1, 0x12, 0x10, 4, 0, 0)
    at = 64
    offsets = []
    for part in (names, strings, symbols):
        offsets.append(at)
        at += len(part)
    at += -at % 8

    def section(name: int, kind: int, offset: int, size: int, link: int = 0, entry: int = 0):
        return struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, offset, size, link, 1, 8, entry)

    sections = section(0, 0, 0, 0)
    sections += section(1, 3, offsets[0], len(names))
    sections += section(11, 3, offsets[1], len(strings))
    sections += section(19, 2, offsets[2], len(symbols), 2, 24)
    sections += section(27, 1, at, 0)
    identity = b"\x7fELF\x02\x01\x01\x41\x08" + bytes(7)
    header = identity + struct.pack("<HHIQQQIHHHHHH", 2, 190, 1, 0, 0, at, 0x06005A04, 64, 56, 0,
                                    64, 5, 1)  # fmt: skip
    body = names + strings + symbols
    return header + body + bytes(at - 64 - len(body)) + sections


def test_sass_is_refused_by_name():
    def body(cuda):
        cuda.start()
        out = ctypes.c_void_p()
        image = ctypes.create_string_buffer(cubin(b"my_kernel"))
        code = cuda.code("cuModuleLoadData", ctypes.byref(out), image)
        assert code == d.NO_BINARY_FOR_GPU

    assert "my_kernel" in child.run(body).errors


def test_skipped_sass_is_loud_counted_and_not_executed():
    def body(cuda):
        cuda.start()
        image = ctypes.create_string_buffer(cubin(b"my_kernel"))
        module = cuda.out("cuModuleLoadData", ctypes.c_void_p, image)
        function = cuda.function(module, "my_kernel")
        assert cuda.launch(function, (1, 1, 1), (1, 1, 1)) == 0
        fill = cuda.function(cuda.module(kernels.ALL), "fill")
        word = cuda.upload(bytes(4))
        arguments = ctypes.c_uint64(word), ctypes.c_uint32(9), ctypes.c_uint32(1)
        assert cuda.launch(fill, (1, 1, 1), (1, 1, 1), *arguments) == 0
        assert cuda.download(word, 4) == bytes(4)

    errors = child.run(body, VGPU_SOFT_SKIP_SASS="1").errors
    assert "NO kernel is executed" in errors
    assert "2 kernel launches" in errors


@pytest.mark.parametrize("image", [b"", b"hello", b"\x7fELF", b"\x50\xed\x55\xba"])
def test_rubbish_is_refused(image):
    def body(cuda):
        cuda.start()
        out = ctypes.c_void_p()
        # The driver gets no length: give it room that is all zeros.
        padded = ctypes.create_string_buffer(image, 4096)
        assert cuda.code("cuModuleLoadData", ctypes.byref(out), padded) in (200, 218, 209)

    child.run(body)
