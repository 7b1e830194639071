import ctypes

import pytest

from harness import driver as d
from harness import kernels


def test_global_variables(cuda):
    cuda.start()
    module = cuda.module(kernels.ALL)
    address, size = ctypes.c_uint64(), ctypes.c_size_t()
    cuda.cuModuleGetGlobal_v2(ctypes.byref(address), ctypes.byref(size), module, b"answer")
    assert size.value == 4
    assert int.from_bytes(cuda.download(address.value, 4), "little") == 42
    cuda.cuMemcpyHtoD_v2(address.value, (99).to_bytes(4, "little"), 4)
    out = cuda.alloc(4)
    cuda.launch(cuda.function(module, "read_answer"), (1, 1, 1), (1, 1, 1), ctypes.c_uint64(out))
    assert int.from_bytes(cuda.download(out, 4), "little") == 99
    cuda.cuModuleGetGlobal_v2(None, ctypes.byref(size), module, b"table")
    assert size.value == 64
    code = cuda.code("cuModuleGetGlobal_v2", ctypes.byref(address), None, module, b"nothing")
    assert code == d.NOT_FOUND


def test_unknown_function(cuda):
    cuda.start()
    module = cuda.module(kernels.ALL)
    out = ctypes.c_void_p()
    assert cuda.code("cuModuleGetFunction", ctypes.byref(out), module, b"absent") == d.NOT_FOUND


def test_bad_images(cuda):
    cuda.start()
    out = ctypes.c_void_p()
    broken = kernels.HEADER.encode() + b".visible .entry x() { this is not PTX }\0"
    assert cuda.code("cuModuleLoadData", ctypes.byref(out), broken) == d.INVALID_PTX
    assert cuda.code("cuModuleLoadData", ctypes.byref(out), None) == d.INVALID_VALUE
    assert (
        cuda.code("cuModuleLoad", ctypes.byref(out), b"/nonexistent.ptx") == 301
    )  # FILE_NOT_FOUND


def test_error_log_of_the_compiler(cuda):
    cuda.start()
    log = ctypes.create_string_buffer(4096)
    options = (ctypes.c_int * 2)(5, 6)  # ERROR_LOG_BUFFER, its size
    values = (ctypes.c_void_p * 2)(ctypes.addressof(log), 4096)
    broken = kernels.HEADER.encode() + b".visible .entry x() { frobnicate.u32 %r1; }\0"
    code = cuda.code(
        "cuModuleLoadDataEx", ctypes.byref(ctypes.c_void_p()), broken, 2, options, values
    )
    assert code == d.INVALID_PTX
    assert log.value


def test_load_from_a_file(cuda, tmp_path):
    cuda.start()
    path = tmp_path / "kernels.ptx"
    path.write_text(kernels.ALL)
    module = cuda.out("cuModuleLoad", ctypes.c_void_p, str(path).encode())
    assert cuda.function(module, "fill")
    cuda.cuModuleUnload(module)
    assert cuda.code("cuModuleUnload", module) == d.INVALID_HANDLE


def test_library_and_kernel(cuda):
    cuda.start()
    library = cuda.out(
        "cuLibraryLoadData", ctypes.c_void_p, kernels.ALL.encode() + b"\0",
        None, None, 0, None, None, 0,
    )  # fmt: skip
    kernel = cuda.out("cuLibraryGetKernel", ctypes.c_void_p, library, b"increment")
    counter = cuda.upload(bytes(4))
    # A kernel handle serves where a function handle is asked for.
    assert cuda.launch(kernel, (1, 1, 1), (5, 1, 1), ctypes.c_uint64(counter)) == 0
    function = cuda.out("cuKernelGetFunction", ctypes.c_void_p, kernel)
    assert cuda.launch(function, (1, 1, 1), (6, 1, 1), ctypes.c_uint64(counter)) == 0
    module = cuda.out("cuLibraryGetModule", ctypes.c_void_p, library)
    again = cuda.function(module, "increment")
    assert cuda.launch(again, (1, 1, 1), (7, 1, 1), ctypes.c_uint64(counter)) == 0
    assert int.from_bytes(cuda.download(counter, 4), "little") == 18
    address, size = ctypes.c_uint64(), ctypes.c_size_t()
    cuda.cuLibraryGetGlobal(ctypes.byref(address), ctypes.byref(size), library, b"answer")
    assert size.value == 4
    cuda.cuLibraryUnload(library)


@pytest.mark.parametrize("kind", ["module", "library"])
def test_enumerating_functions(cuda, kind):
    cuda.start()
    names = {"module": "Module", "library": "Library"}
    count_call = f"cu{names[kind]}Get{'Function' if kind == 'module' else 'Kernel'}Count"
    list_call = f"cu{names[kind]}Enumerate{'Functions' if kind == 'module' else 'Kernels'}"
    name_call = "cuFuncGetName" if kind == "module" else "cuKernelGetName"
    image = kernels.ALL.encode() + b"\0"
    if kind == "module":
        code = cuda.out("cuModuleLoadData", ctypes.c_void_p, image)
    else:
        code = cuda.out("cuLibraryLoadData", ctypes.c_void_p, image, None, None, 0, None, None, 0)
    count = ctypes.c_uint()
    getattr(cuda, count_call)(ctypes.byref(count), code)
    assert count.value == kernels.ALL.count(".visible .entry")
    handles = (ctypes.c_void_p * count.value)()
    getattr(cuda, list_call)(handles, count.value, code)
    found = {cuda.out(name_call, ctypes.c_char_p, handle).decode() for handle in handles}
    assert len(found) == count.value
    assert {"fill", "increment", "read_answer"} <= found


def test_linking(cuda):
    cuda.start()
    state = ctypes.c_void_p()
    cuda.cuLinkCreate_v2(0, None, None, ctypes.byref(state))
    text = kernels.ALL.encode() + b"\0"
    cuda.cuLinkAddData_v2(state, 1, text, len(text), b"kernels.ptx", 0, None, None)  # INPUT_PTX
    image, size = ctypes.c_void_p(), ctypes.c_size_t()
    cuda.cuLinkComplete(state, ctypes.byref(image), ctypes.byref(size))
    assert size.value > 0
    module = cuda.out("cuModuleLoadData", ctypes.c_void_p, image)
    cuda.cuLinkDestroy(state)
    assert cuda.function(module, "fill")


def test_loading_mode_is_lazy(cuda):
    cuda.cuInit(0)
    assert cuda.out("cuModuleGetLoadingMode", ctypes.c_int) == 2
