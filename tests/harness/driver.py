"""The CUDA driver API through ctypes, with argument types taken from the API specification."""

import ctypes
import functools
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.native import REPOSITORY

SUCCESS = 0
INVALID_VALUE = 1
OUT_OF_MEMORY = 2
NOT_INITIALIZED = 3
NO_DEVICE = 100
INVALID_DEVICE = 101
INVALID_IMAGE = 200
INVALID_CONTEXT = 201
NO_BINARY_FOR_GPU = 209
INVALID_PTX = 218
INVALID_HANDLE = 400
NOT_FOUND = 500
NOT_READY = 600
ILLEGAL_ADDRESS = 700
LAUNCH_OUT_OF_RESOURCES = 701
PEER_ACCESS_ALREADY_ENABLED = 704
PEER_ACCESS_NOT_ENABLED = 705
PRIMARY_CONTEXT_ACTIVE = 708
CONTEXT_IS_DESTROYED = 709
HOST_MEMORY_ALREADY_REGISTERED = 712
HOST_MEMORY_NOT_REGISTERED = 713
MISALIGNED_ADDRESS = 716
COOPERATIVE_LAUNCH_TOO_LARGE = 720
NOT_SUPPORTED = 801
STREAM_CAPTURE_INVALIDATED = 901
STREAM_CAPTURE_IMPLICIT = 906

_SCALARS: dict[str, Any] = {
    "int": ctypes.c_int,
    "unsigned int": ctypes.c_uint,
    "unsigned char": ctypes.c_ubyte,
    "unsigned short": ctypes.c_ushort,
    "unsigned long long": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
    "float": ctypes.c_float,
    "CUdeviceptr": ctypes.c_uint64,
    "CUdevice": ctypes.c_int,
    "cuuint32_t": ctypes.c_uint32,
    "cuuint64_t": ctypes.c_uint64,
    "CUgraphConditionalHandle": ctypes.c_uint64,
    "CUtexObject": ctypes.c_uint64,
    "CUsurfObject": ctypes.c_uint64,
}
# Opaque handles are pointers; every other CU* name that is not a pointer is an enumeration.
_HANDLES = {
    "CUcontext", "CUstream", "CUevent", "CUmodule", "CUfunction", "CUlibrary", "CUkernel",
    "CUgraph", "CUgraphNode", "CUgraphExec", "CUmemoryPool", "CUlinkState", "CUarray",
    "CUmipmappedArray",
    "CUgreenCtx", "CUhostFn", "CUstreamCallback", "CUoccupancyB2DSize", "CUuserObject",
}  # fmt: skip


class CudaError(Exception):
    """A driver call returned something other than CUDA_SUCCESS; ``code`` is the CUresult."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} returned {code}")
        self.code = code


@functools.cache
def signatures() -> dict[str, list[Any]]:
    """Function name -> ctypes argument types, for every entry of protocol/spec."""
    table: dict[str, list[Any]] = {}
    for path in sorted((REPOSITORY / "protocol" / "spec").glob("*.toml")):
        for entry in tomllib.loads(path.read_text()).get("function", []):
            table[entry["name"]] = [_ctype(p["type"]) for p in entry.get("params", [])]
    return table


def _ctype(text: str) -> Any:
    plain = " ".join(text.replace("const", " ").split())
    if plain.endswith(("*", "]")):
        return ctypes.c_void_p
    if plain in _SCALARS:
        return _SCALARS[plain]
    if plain in _HANDLES:
        return ctypes.c_void_p
    return ctypes.c_longlong if plain == "CUmemGenericAllocationHandle" else ctypes.c_int


class Driver:
    """A driver library: ``driver.cuX()`` raises CudaError, ``driver.code("cuX")`` returns it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.library = ctypes.CDLL(str(path))

    def code(self, name: str, *arguments: Any) -> int:
        function = getattr(self.library, name)
        function.argtypes = signatures().get(name)
        return int(function(*arguments))

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> None:
            if code := self.code(name, *arguments):
                raise CudaError(name, code)

        return call

    # -- what nearly every test begins with ----------------------------------------------------

    def start(self, ordinal: int = 0) -> int:
        """Initialises, retains the primary context of a device and makes it current; its handle."""
        self.cuInit(0)
        context = ctypes.c_void_p()
        self.cuDevicePrimaryCtxRetain(ctypes.byref(context), ordinal)
        self.cuCtxSetCurrent(context)
        assert context.value
        return context.value

    def out(self, name: str, kind: Any, *arguments: Any) -> Any:
        """Calls a function whose first parameter points to a ``kind``, and returns that value."""
        value = kind()
        getattr(self, name)(ctypes.byref(value), *arguments)
        return value.value

    def out_last(self, name: str, kind: Any, *arguments: Any) -> Any:
        """Calls a function whose last parameter points to a ``kind``, and returns that value."""
        value = kind()
        getattr(self, name)(*arguments, ctypes.byref(value))
        return value.value

    def alloc(self, size: int) -> int:
        return int(self.out("cuMemAlloc_v2", ctypes.c_uint64, size))

    def upload(self, data: bytes, address: int | None = None) -> int:
        address = self.alloc(len(data)) if address is None else address
        self.cuMemcpyHtoD_v2(address, data, len(data))
        return address

    def download(self, address: int, size: int) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        self.cuMemcpyDtoH_v2(buffer, address, size)
        return buffer.raw

    def stream(self, flags: int = 1) -> int:
        return int(self.out("cuStreamCreate", ctypes.c_void_p, flags))

    def event(self, flags: int = 0) -> int:
        return int(self.out("cuEventCreate", ctypes.c_void_p, flags))

    def module(self, ptx: str) -> int:
        return int(self.out("cuModuleLoadData", ctypes.c_void_p, ptx.encode() + b"\0"))

    def function(self, module: int, name: str) -> int:
        return int(self.out("cuModuleGetFunction", ctypes.c_void_p, module, name.encode()))

    def launch(
        self,
        function: int,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        *arguments: Any,
        stream: int = 0,
        shared: int = 0,
    ) -> int:
        """cuLaunchKernel with ctypes arguments; returns the CUresult."""
        pointers = (ctypes.c_void_p * max(1, len(arguments)))(
            *[ctypes.addressof(a) for a in arguments]
        )
        return self.code("cuLaunchKernel", function, *grid, *block, shared, stream, pointers, None)
