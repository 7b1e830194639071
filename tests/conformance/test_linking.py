"""Link jobs and JIT logs: who defines what, who is missing, and what the logs say."""

import ctypes
import struct

import pytest

from harness import driver as d
from harness import kernels
from softgpu.test_modules import fatbin

U32, U64, HANDLE = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
ONE = (1, 1, 1)
PTX, FATBINARY = 1, 2
INFO, INFO_SIZE, ERROR, ERROR_SIZE, VERBOSE = 3, 4, 5, 6, 12
INVALID_SOURCE, FILE_NOT_FOUND, UNKNOWN = 300, 301, 999
ref = ctypes.byref


def number(linkage, value, name="number"):
    """A function that returns a constant."""
    return kernels.HEADER + (
        f"{linkage} .func (.param .b32 r) {name}()\n{{ st.param.b32 [r], {value}; ret; }}\n"
    )


def caller(name="number", kernel="run"):
    """A kernel that stores what an external function returns."""
    return (
        kernels.HEADER
        + f"""
.extern .func (.param .b32 r) {name}();
.visible .entry {kernel}(.param .u64 out)
{{
  .reg .b32 %r<2>; .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [out];
  {{ .param .b32 got;
    call (got), {name}, ();
    ld.param.b32 %r1, [got];
  }}
  st.global.u32 [%rd1], %r1;
  ret;
}}
"""
    )


READER = (
    kernels.HEADER
    + """
.extern .global .align 4 .u32 shared_word;
.visible .entry read(.param .u64 out)
{
  .reg .b32 %r<2>; .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [out];
  ld.global.u32 %r1, [shared_word];
  st.global.u32 [%rd1], %r1;
  ret;
}
"""
)


def word(linkage, value):
    return kernels.HEADER + f"{linkage} .global .align 4 .u32 shared_word = {value};\n"


class Job:
    """A link job with both logs."""

    def __init__(self, cuda, room=2000, verbose=0):
        self.cuda = cuda
        self.info, self.errors = (ctypes.create_string_buffer(b"#" * room, room) for _ in "ab")
        options = (INFO, INFO_SIZE, ERROR, ERROR_SIZE, VERBOSE)
        self.values = (HANDLE * 5)(
            ctypes.addressof(self.info), room, ctypes.addressof(self.errors), room, verbose
        )
        self.options = (ctypes.c_int * 5)(*options)
        self.handle = HANDLE()
        cuda.cuLinkCreate_v2(5, self.options, self.values, ref(self.handle))

    def add(self, text, name=b"input", kind=PTX):
        data = text if isinstance(text, bytes) else text.encode() + b"\0"
        return self.cuda.code(
            "cuLinkAddData_v2", self.handle, kind, data, len(data), name, 0, None, None
        )

    def complete(self):
        image, size = HANDLE(), ctypes.c_size_t()
        code = self.cuda.code("cuLinkComplete", self.handle, ref(image), ref(size))
        return code or self.cuda.out("cuModuleLoadData", HANDLE, image)

    def link(self, *texts):
        assert [self.add(text) for text in texts] == [0] * len(texts)
        return self.complete()

    def log(self):
        return self.errors.value.decode()


def result(cuda, module, kernel="run"):
    out = cuda.alloc(4)
    assert cuda.launch(cuda.function(module, kernel), ONE, ONE, U64(out)) == 0
    return struct.unpack("<I", cuda.download(out, 4))[0]


@pytest.mark.parametrize("order", [1, -1])
def test_a_function_from_another_input(cuda, order):
    cuda.start()
    texts = [caller(), number(".visible", 42)]
    assert result(cuda, Job(cuda).link(*texts[::order])) == 42


def test_a_variable_from_another_input(cuda):
    cuda.start()
    module = Job(cuda).link(READER, word(".visible", 7))
    assert result(cuda, module, "read") == 7
    address, size = U64(), ctypes.c_size_t()
    cuda.cuModuleGetGlobal_v2(ref(address), ref(size), module, b"shared_word")
    cuda.cuMemcpyHtoD_v2(address.value, struct.pack("<I", 8), 4)
    assert result(cuda, module, "read") == 8


@pytest.mark.parametrize("order", [1, -1])
def test_weak_gives_way(cuda, order):
    cuda.start()
    definitions = [number(".weak", 1), number(".visible", 2)][::order]
    assert result(cuda, Job(cuda).link(caller(), *definitions)) == 2
    definitions = [word(".weak", 1), word(".visible", 2)][::order]
    assert result(cuda, Job(cuda).link(READER, *definitions), "read") == 2


def test_two_weak_definitions_are_one(cuda):
    cuda.start()
    module = Job(cuda).link(caller(), number(".weak", 5), number(".weak", 5))
    assert result(cuda, module) == 5


def test_private_names_do_not_meet(cuda):
    cuda.start()
    one = number("", 1, "own") + caller("own", "first").split("own();\n", 1)[1]
    two = number("", 2, "own") + caller("own", "second").split("own();\n", 1)[1]
    module = Job(cuda).link(one, two)
    assert (result(cuda, module, "first"), result(cuda, module, "second")) == (1, 2)


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("number", [number(".visible", 1), number(".visible", 2)]),
        ("shared_word", [word(".visible", 1), word(".visible", 2)]),
    ],
)
def test_defined_twice(cuda, name, texts):
    cuda.start()
    job = Job(cuda)
    code = job.add(texts[0]) or job.add(texts[1]) or job.complete()
    assert code in (INVALID_SOURCE, d.INVALID_PTX, UNKNOWN)
    assert name in job.log()


def test_defined_nowhere(cuda):
    cuda.start()
    for text, name in ((caller("absent"), "absent"), (READER, "shared_word")):
        job = Job(cuda)
        code = job.add(text) or job.complete()
        assert code in (INVALID_SOURCE, d.INVALID_PTX, UNKNOWN)
        assert name in job.log()
        assert job.values[3] == len(job.log())  # CUDA says how much it wrote


def test_declared_and_not_used(cuda):
    cuda.start()
    declared = kernels.HEADER + ".extern .func (.param .b32 r) absent();\n"
    text = declared + kernels.ALL[len(kernels.HEADER) :]
    module = Job(cuda).link(text)
    assert cuda.function(module, "fill")


def test_bad_input(cuda):
    cuda.start()
    job = Job(cuda)
    code = job.add(kernels.HEADER + ".visible .entry x() { frobnicate.u32 %r1; }") or job.complete()
    assert code != 0
    assert job.log()


def test_a_short_log_is_cut(cuda):
    cuda.start()
    job = Job(cuda, room=12)
    assert (job.add(caller("absent")) or job.complete()) != 0
    assert job.errors.raw[11:] == b"\0"
    assert len(job.errors.value) == 11
    assert job.info.value == b""


def test_fat_binary(cuda):
    cuda.start()
    job = Job(cuda)
    assert job.add(fatbin(number(".visible", 77)), kind=FATBINARY) == 0
    assert result(cuda, job.link(caller())) == 77


def test_files(cuda, tmp_path):
    cuda.start()
    (tmp_path / "number.ptx").write_text(number(".visible", 13))
    job, path = Job(cuda), str(tmp_path / "number.ptx").encode()
    assert cuda.code("cuLinkAddFile_v2", job.handle, PTX, path, 0, None, None) == 0
    assert result(cuda, job.link(caller())) == 13
    job, missing = Job(cuda), str(tmp_path / "missing.ptx").encode()
    code = cuda.code("cuLinkAddFile_v2", job.handle, PTX, missing, 0, None, None)
    assert code == FILE_NOT_FOUND


def test_misuse(cuda):
    cuda.start()
    job, image, size = Job(cuda), HANDLE(), ctypes.c_size_t()
    value = d.INVALID_VALUE
    assert cuda.code("cuLinkCreate_v2", 0, None, None, None) == value
    assert cuda.code("cuLinkAddData_v2", job.handle, PTX, None, 10, b"", 0, None, None) == value
    assert cuda.code("cuLinkAddData_v2", job.handle, PTX, b"x", 0, b"", 0, None, None) == value
    assert cuda.code("cuLinkComplete", job.handle, None, ref(size)) == value
    assert cuda.code("cuLinkComplete", None, ref(image), ref(size)) in (value, d.INVALID_HANDLE)
    assert cuda.code("cuLinkDestroy", None) in (value, d.INVALID_HANDLE)


def test_logs_of_a_load(cuda):
    cuda.start()
    info, errors = (ctypes.create_string_buffer(b"#" * 4000, 4000) for _ in "ab")
    options = (ctypes.c_int * 5)(INFO, INFO_SIZE, ERROR, ERROR_SIZE, VERBOSE)

    def load(function, text):
        values = (HANDLE * 5)(ctypes.addressof(info), 4000, ctypes.addressof(errors), 4000, 1)
        out, data = HANDLE(), text.encode() + b"\0"
        if function == "cuModuleLoadDataEx":
            code = cuda.code(function, ref(out), data, 5, options, values)
        else:
            code = cuda.code(function, ref(out), data, options, values, 5, None, None, 0)
        return code, values

    broken = kernels.HEADER + ".visible .entry x() { frobnicate.u32 %r1; }"
    for function in ("cuModuleLoadDataEx", "cuLibraryLoadData"):
        code, values = load(function, kernels.ALL)
        assert code == 0
        assert b"fill" in info.value
        assert values[1] == len(info.value)
        assert errors.value == b""
        assert not values[3]
        code, values = load(function, broken)
        assert code == d.INVALID_PTX
        assert b"frobnicate" in errors.value
        assert values[3] == len(errors.value)
