"""Images: linking, what has no PTX, and skipped SASS."""

import ctypes
import struct

import pytest

from harness import driver as d
from harness import kernels
from softgpu import child
from softgpu.images import cubin

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


PTX, OBJECT, LIBRARY = 1, 3, 4  # CUjitInputType


def linked(cuda, *inputs: tuple[int, bytes]) -> int:
    """The module that the linker makes of (type, content) inputs."""
    link = ctypes.c_void_p()
    cuda.cuLinkCreate_v2(0, None, None, ctypes.byref(link))
    for kind, data in inputs:
        cuda.cuLinkAddData_v2(link, kind, data, len(data), b"input", 0, None, None)
    image, size = ctypes.c_void_p(), ctypes.c_size_t()
    cuda.cuLinkComplete(link, ctypes.byref(image), ctypes.byref(size))
    module = cuda.out("cuModuleLoadData", ctypes.c_void_p, image)
    cuda.cuLinkDestroy(link)
    return int(module)


def host_object(ptx: str) -> bytes:
    """An ELF object file with a fat binary of this text where the compiler puts device code."""
    text = ptx.encode() + b"\0"
    text += bytes(-len(text) % 8)
    entry = struct.pack(
        "<HHIQIIHHIIIQQQ", 1, 0x101, 64, len(text), 0, 0, 0, 0, 75, 0, 0, 0x11, 0, 0
    )
    code = struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entry) + len(text)) + entry + text
    names = b"\0__nv_relfatbin\0"
    sections = bytes(64)
    for name, content, at in ((1, code, 64), (0, names, 64 + len(code))):
        sections += struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, at, len(content), 0, 0, 8, 0)
    header = b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, 64 + len(code) + len(names), 0, 64, 0, 0, 64, 3, 2
    )
    return header + code + names + sections


def archive(**members: bytes) -> bytes:
    content = b"!<arch>\n"
    for name, data in members.items():
        head = f"{name + '/':<16}{0:<12}{0:<6}{0:<6}{'644':<8}{len(data):<10}`\n"
        content += head.encode() + data + b"\n" * (len(data) % 2)
    return content


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (PTX, CALLEE.encode() + b"\0"),
        (OBJECT, host_object(CALLEE)),
        (LIBRARY, archive(notes=b"odd", code=host_object(CALLEE))),
    ],
    ids=["ptx", "object", "library"],
)
def test_two_inputs_link(kind, data):
    def body(cuda):
        cuda.start()
        module = linked(cuda, (PTX, CALLER.encode() + b"\0"), (kind, data))
        out = cuda.alloc(4)
        function = cuda.function(module, "run")
        assert cuda.launch(function, (1, 1, 1), (1, 1, 1), ctypes.c_uint64(out)) == 0
        assert cuda.download(out, 4) == struct.pack("<I", 42)

    child.run(body)


# What libcudadevrt's cudaCGSynchronize ends in: 20 rounds; in each, every block counts itself, and
# then must see what all blocks of the round have counted.
ROUNDS = """
.extern .func (.param .b64 result) __cuda_syscall_CGS_get_intrinsic_handle(.param .b32 scope);
.extern .func (.param .b32 result) __cuda_syscall_CGS_sync(.param .b64 handle, .param .b32 flags);
.visible .entry rounds(.param .u64 count, .param .u64 seen)
{
  .reg .pred %p; .reg .b32 %r<9>; .reg .b64 %rd<6>;
  ld.param.u64 %rd1, [count];
  ld.param.u64 %rd2, [seen];
  mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
  mad.lo.u32 %r1, %r1, %r2, %r3;
  mul.wide.u32 %rd3, %r1, 80;
  add.u64 %rd2, %rd2, %rd3;
  { .param .b32 scope; .param .b64 result; st.param.b32 [scope], 1;
    call (result), __cuda_syscall_CGS_get_intrinsic_handle, (scope);
    ld.param.b64 %rd4, [result]; }
  mov.u32 %r4, 0;
again:
  red.global.add.u32 [%rd1], 1;
  { .param .b64 handle; .param .b32 flags; .param .b32 result;
    st.param.b64 [handle], %rd4; st.param.b32 [flags], 0;
    call (result), __cuda_syscall_CGS_sync, (handle, flags); }
  ld.volatile.global.u32 %r5, [%rd1];
  st.global.u32 [%rd2], %r5;
  { .param .b64 handle; .param .b32 flags; .param .b32 result;
    st.param.b64 [handle], %rd4; st.param.b32 [flags], 0;
    call (result), __cuda_syscall_CGS_sync, (handle, flags); }
  add.u64 %rd2, %rd2, 4;
  add.u32 %r4, %r4, 1;
  setp.lt.u32 %p, %r4, 20;
  @%p bra again;
  ret;
}
"""


def test_the_device_runtime_synchronizes_a_cooperative_grid():
    def body(cuda):
        cuda.start()
        module = linked(cuda, (PTX, (kernels.HEADER + ROUNDS).encode() + b"\0"))
        count, seen = cuda.upload(bytes(4)), cuda.alloc(3 * 64 * 80)
        arguments = [ctypes.c_uint64(count), ctypes.c_uint64(seen)]
        pointers = (ctypes.c_void_p * 2)(*[ctypes.addressof(a) for a in arguments])
        cuda.cuLaunchCooperativeKernel(
            cuda.function(module, "rounds"), 3, 1, 1, 64, 1, 1, 0, None, pointers
        )
        rounds = struct.unpack(f"<{3 * 64 * 20}I", cuda.download(seen, 3 * 64 * 80))
        assert rounds == tuple(3 * 64 * (k + 1) for k in range(20)) * (3 * 64)

    child.run(body)


def test_an_unresolved_function_is_named():
    def body(cuda):
        cuda.start()
        module, out = cuda.module(CALLER), ctypes.c_void_p()
        assert cuda.code("cuModuleGetFunction", ctypes.byref(out), module, b"run") == d.INVALID_PTX

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
    assert "launches executed 0, NOT executed 2" in errors
    assert " my_kernel\n" in errors
    assert " fill\n" in errors


@pytest.mark.parametrize("image", [b"", b"hello", b"\x7fELF", b"\x50\xed\x55\xba"])
def test_rubbish_is_refused(image):
    def body(cuda):
        cuda.start()
        out = ctypes.c_void_p()
        # The driver gets no length: give it room that is all zeros.
        padded = ctypes.create_string_buffer(image, 4096)
        assert cuda.code("cuModuleLoadData", ctypes.byref(out), padded) in (200, 218, 209)

    child.run(body)


# Nothing that the program calls needs what this function lacks.
INCOMPLETE = """
.extern .func nowhere();
.visible .func unused() { call nowhere, (); ret; }
"""


def test_what_a_library_lacks_is_no_error_while_nothing_needs_it():
    def body(cuda):
        cuda.start()
        library = archive(code=host_object(CALLEE + INCOMPLETE))
        module = linked(cuda, (PTX, CALLER.encode() + b"\0"), (LIBRARY, library))
        out = cuda.alloc(4)
        function = cuda.function(module, "run")
        assert cuda.launch(function, (1, 1, 1), (1, 1, 1), ctypes.c_uint64(out)) == 0
        assert cuda.download(out, 4) == struct.pack("<I", 42)

    child.run(body)


# As compilers write them: braces around one element, predicates that all threads share.
UNIFORM = """
.visible .entry run(.param .u64 out, .param .u32 n)
{
  .reg .pred %p<5>; .reg .b32 %r<4>; .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [out];
  ld.param.u32 %r1, [n];
  setp.gt.u32 %p1, %r1, 5;
  setp.lt.u32 %p2, %r1, 100;
  not.pred %p3, %p1;
  and.pred %p4, %p2, %p1;
  selp.b32 %r2, 1, 0, %p3;
  selp.b32 %r3, 2, 0, %p4;
  or.b32 %r2, %r2, %r3;
  st.global.b32 [%rd1 + 0], { %r2 };
  ret;
}
"""


@pytest.mark.parametrize(("n", "expected"), [(3, 1), (50, 2), (200, 0)])
def test_predicates_of_a_launch_and_braces_around_one_element(n, expected):
    def body(cuda):
        cuda.start()
        function = cuda.function(cuda.module(kernels.HEADER + UNIFORM), "run")
        out = cuda.alloc(4)
        arguments = ctypes.c_uint64(out), ctypes.c_uint32(n)
        assert cuda.launch(function, (1, 1, 1), (1, 1, 1), *arguments) == 0
        assert cuda.download(out, 4) == struct.pack("<I", expected)

    child.run(body)
