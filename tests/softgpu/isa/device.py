"""Child processes that hold one software GPU each and run whatever kernel they are sent.

The test process never opens the library itself: other tests fork from it and need a fresh one, the
choice of vector instructions is made once per process, and a crash must not take pytest along.
"""

import atexit
import ctypes
import functools
import hashlib
import multiprocessing
import os
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import numpy as np

from harness import native
from harness.driver import SUCCESS, CudaError, Driver

DEADLINE = 60.0  # seconds for one launch

#: Both implementations of the lanes (native/softgpu/ptx/isa.cc); one without AVX2 on the host.
VARIANTS = ("avx512", "avx2", "portable")


class Refused(Exception):
    """The driver refused a module or a kernel, or a kernel failed; ``log`` is what it wrote."""

    def __init__(self, stage: str, code: int, log: str) -> None:
        super().__init__(f"{stage} returned {code}\n{log}")
        self.stage = stage
        self.code = code
        self.log = log


class Device:
    """One software GPU in a child process, configured by environment variables."""

    def __init__(self, **environment: str) -> None:
        self._environment = environment
        self._process: Any = None
        self._pipe: Any = None

    def run(
        self,
        ptx: str,
        kernel: str,
        *arguments: Any,
        grid: int | tuple[int, int, int] = 1,
        block: int | tuple[int, int, int] = 32,
        shared: int = 0,
        cooperative: bool = False,
    ) -> list[np.ndarray]:
        """Launches a kernel and waits; arrays are uploaded, and returned as the kernel left them.

        NumPy scalars (``np.uint32(3)``) are passed by value. Raises Refused.
        """
        shape = [v if isinstance(v, tuple) else (v, 1, 1) for v in (grid, block)]
        return self._ask((ptx, kernel, arguments, *shape, shared, cooperative))

    def load(self, ptx: str) -> str:
        """Loads a module without running anything; what the driver wrote. Raises Refused."""
        return self._ask((ptx, None, (), (1, 1, 1), (1, 1, 1), 0, False))

    def _ask(self, request: Any) -> Any:
        if corpus := os.environ.get("VGPU_PTX_CORPUS"):
            save(Path(corpus), request[0])
        if self._process is None:
            self._start()
        try:
            self._pipe.send(request)
            if not self._pipe.poll(DEADLINE):
                self.close()
                raise AssertionError(f"no answer within {DEADLINE} s")
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            code = self._process.exitcode
            self.close()
            raise AssertionError(f"the software GPU's process ended with {code}") from error
        if isinstance(answer, Refused):
            raise answer
        return answer

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, self._environment, native.softgpu()), daemon=True
        )
        self._process.start()
        theirs.close()
        atexit.register(self.close)

    def close(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.join()
        self._pipe.close()
        self._process = self._pipe = None
        atexit.unregister(self.close)


def save(folder: Path, ptx: str) -> None:
    """Keeps a text as a seed of the fuzzer (make check-deep)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(ptx.encode()).hexdigest()[:16]).write_text(ptx)


@functools.cache
def variant(name: str) -> Device:
    """The shared device whose lanes are compiled for ``name``, one of VARIANTS."""
    return Device(VGPU_SOFT_ISA=name, VGPU_SOFT_MEMORY="512Mi", VGPU_SOFT_THREADS="2")


# -- the child ---------------------------------------------------------------------------------


def _serve(pipe: Connection, environment: dict[str, str], library: Any) -> None:
    for name in [n for n in os.environ if n.startswith(("VGPU_", "CUDA_"))]:
        del os.environ[name]
    os.environ.update(environment)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        server = _Server(Driver(library))
        while True:
            try:
                request = pipe.recv()
            except EOFError:
                os._exit(0)
            log.seek(0)
            log.truncate()
            pipe.send(_answer(server, request, log))


def _answer(server: "_Server", request: Any, log: IO[bytes]) -> Any:
    try:
        return server.answer(*request)
    except CudaError as error:
        log.seek(0)
        refused = Refused(str(error).split()[0], error.code, log.read().decode())
        refused.args = (refused.stage, refused.code, refused.log)  # how pickle makes it again
        server.recover()
        return refused


class _Server:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._driver.start()
        self._modules: dict[str, int] = {}

    def recover(self) -> None:
        """A fault is sticky: the next request gets a new context."""
        if self._driver.code("cuCtxSynchronize") == SUCCESS:
            return
        self._driver.cuDevicePrimaryCtxReset_v2(0)
        self._modules.clear()
        self._driver.start()

    def answer(
        self,
        ptx: str,
        kernel: str | None,
        arguments: tuple[Any, ...],
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared: int,
        cooperative: bool,
    ) -> Any:
        driver = self._driver
        if ptx not in self._modules:
            if len(self._modules) >= 64:
                driver.cuModuleUnload(self._modules.pop(next(iter(self._modules))))
            self._modules[ptx] = driver.module(ptx)
        if kernel is None:
            return ""
        function = driver.function(self._modules[ptx], kernel)
        passed = [
            ctypes.c_uint64(driver.upload(a.tobytes() or bytes(1)))
            if isinstance(a, np.ndarray)
            else (ctypes.c_char * a.nbytes).from_buffer_copy(a.tobytes())
            for a in arguments
        ]
        pointers = (ctypes.c_void_p * max(1, len(passed)))(*[ctypes.addressof(p) for p in passed])
        shape = (function, *grid, *block, shared, 0, pointers)
        if cooperative:
            driver.cuLaunchCooperativeKernel(*shape)
        else:
            driver.cuLaunchKernel(*shape, None)
        driver.cuCtxSynchronize()
        results = []
        for argument, place in zip(arguments, passed, strict=True):
            if not isinstance(argument, np.ndarray):
                continue
            raw = driver.download(place.value, argument.nbytes)
            results.append(np.frombuffer(raw, argument.dtype).reshape(argument.shape))
            driver.cuMemFree_v2(place.value)
        return results
