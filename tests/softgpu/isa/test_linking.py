"""Symbols of several texts (PTX ISA 11.6): .visible, .extern, .weak, and what stays local."""

import ctypes
import struct

import pytest

from harness.driver import CudaError
from softgpu import child

HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"

MAIN = """
.extern .func (.param .b32 r) pick();
.extern .global .u32 word;
.func (.param .b32 r) local() { st.param.b32 [r], 1; ret; }
.visible .entry test(.param .u64 out)
{
.reg .b64 %rd; .reg .b32 %a, %b, %c; .param .b32 x; .param .b32 y;
ld.param.u64 %rd, [out];
call (x), pick; ld.param.b32 %a, [x];
call (y), local; ld.param.b32 %b, [y];
ld.global.u32 %c, [word];
st.global.v2.b32 [%rd], {%a, %b}; st.global.b32 [%rd+8], %c;
ret;
}
"""
WEAK = """
.weak .func (.param .b32 r) pick() { st.param.b32 [r], 10; ret; }
.weak .global .u32 word = 100;
.func (.param .b32 r) local() { st.param.b32 [r], 2; ret; }
"""
STRONG = """
.visible .func (.param .b32 r) pick() { st.param.b32 [r], 20; ret; }
.visible .global .u32 word = 200;
"""
WEAK_TOO = WEAK.replace("10;", "11;").replace("100", "101")


def linked(cuda, *texts: str) -> tuple[int, ...]:
    """Links texts, runs `test` of the result, and gives back its three words."""
    link = ctypes.c_void_p()
    cuda.cuLinkCreate_v2(0, None, None, ctypes.byref(link))
    for text in texts:
        data = (HEAD + text).encode() + b"\0"
        cuda.cuLinkAddData_v2(link, 1, data, len(data), b"input", 0, None, None)
    image, size = ctypes.c_void_p(), ctypes.c_size_t()
    cuda.cuLinkComplete(link, ctypes.byref(image), ctypes.byref(size))
    module = cuda.out("cuModuleLoadData", ctypes.c_void_p, image)
    cuda.cuLinkDestroy(link)
    out = cuda.alloc(12)
    arguments = (ctypes.c_uint64(out),)
    assert cuda.launch(cuda.function(module, "test"), (1, 1, 1), (1, 1, 1), *arguments) == 0
    return struct.unpack("<3I", cuda.download(out, 12))


def test_strong_symbols_replace_weak_ones():
    def body(cuda):
        cuda.start()
        assert linked(cuda, MAIN, WEAK) == (10, 1, 100)
        assert linked(cuda, WEAK, MAIN) == (10, 1, 100)
        assert linked(cuda, WEAK, WEAK_TOO, MAIN) == (10, 1, 100)
        for order in ((MAIN, WEAK, STRONG), (STRONG, MAIN, WEAK), (WEAK, STRONG, MAIN)):
            assert linked(cuda, *order) == (20, 1, 200)

    child.run(body)


@pytest.mark.parametrize("kind", [".func (.param .b32 r) pick() { ret; }", ".global .u32 word;"])
def test_two_strong_definitions_are_refused(kind):
    def body(cuda):
        cuda.start()
        with pytest.raises(CudaError):
            linked(cuda, MAIN, STRONG, f".visible {kind}\n")

    child.run(body)
