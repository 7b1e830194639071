"""What a program sees of its device code, over every route: printf, assert, trap, stray accesses.

The expected texts and codes are CUDA's own (CUDA C++ Programming Guide, "Formatted Output",
"Assertion", "Trap function"); what the software GPU adds to its log is tested in tests/softgpu.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import native, workers

SOURCE = r"""
extern "C" __global__ void lines(int n) {
  if (threadIdx.x < n) printf("thread %d of %d\n", threadIdx.x, n);
}

extern "C" __global__ void conversions(const char* text) {
  printf("plain, and a percent sign: %%\n");
  printf("%d|%5d|%-5d|%05d|%+d|% d|%i\n", -42, 42, 42, 42, 42, 42, 7);
  printf("%u|%o|%x|%X|%#x|%#o\n", 42u, 42u, 0xbeefu, 0xbeefu, 255u, 8u);
  printf("%ld|%lld|%llu|%llx|%hd|%hhd\n", -5L, -6000000000LL, 18446744073709551615ULL,
         0x123456789abcdefULL, 70000, 300);
  printf("%f|%.3f|%10.2f|%-10.1f|%e|%E|%g|%G|%a\n", 1.5, 2.0 / 3, 3.14159, 2.5, 12345.678,
         1e-10, 1e-10, 1e20, 0.5);
  printf("%s|%10s|%-10s|%.2s|%c|%5c\n", text, "right", "left", "cut", 'c', 'd');
  printf("%*d|%-*d|%.*f|%*.*f\n", 6, 42, 6, 42, 2, 1.23456, 8, 3, 2.71828);
  printf("%p|%p\n", (void*)0xabc0, (void*)0);
  printf("%d %f %s %lld %c\n", 1, 2.5, "three", 4LL, '5');
  printf("%f %f %f\n", 1e300 * 1e10, -1.0 / 0.0, 0.0);
  printf("%d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d %d "
         "%d %d %d %d|%d\n", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
         21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33);
}

extern "C" __global__ void counts(int* results) {
  results[0] = printf("none\n");
  results[1] = printf("%d %s\n", 1, "two");
  results[2] = printf((const char*)nullptr, 0);
}

extern "C" __global__ void asserts(int n) {
  int i = threadIdx.x;
  assert(i < n && "too many");
}

extern "C" __global__ void traps() {
  printf("before the trap\n");
  if (threadIdx.x == 1) __trap();
}

extern "C" __global__ void strays(int* data, int n) {
  data[threadIdx.x + n] = 1;
}

extern "C" __global__ void misaligns(char* data) {
  *(int*)(data + 1) = 1;
}
"""

PRELUDE = """
import ctypes, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from harness.driver import *
cuda = Driver(Path({library!r}))
cuda.start()
module = cuda.module(Path({ptx!r}).read_text())
def launch(name, threads, *arguments, blocks=1):
    return cuda.launch(cuda.function(module, name), (blocks, 1, 1), (threads, 1, 1), *arguments)
I32, U64 = ctypes.c_int, ctypes.c_uint64
def say(text):  # through the C library, as a C program would
    ctypes.CDLL(None).printf(b"%s\\n", text.encode())
"""


@dataclass
class Route:
    """How programs of a test reach the driver."""

    name: str
    address: str
    ptx: Path

    def run(self, body: str, **environment: str) -> subprocess.CompletedProcess[str]:
        library = native.softgpu() if self.name == "direct" else native.stub()
        if self.address:
            environment["VGPU_WORKER"] = self.address
        tests = str(native.REPOSITORY / "tests")
        prelude = PRELUDE.format(tests=tests, library=str(library), ptx=str(self.ptx))
        return subprocess.run(
            [sys.executable, "-c", prelude + body],
            env=workers.python_environment(environment),
            capture_output=True,
            text=True,
            timeout=60,
        )


def compile_ptx(source: str, *options: str, name: str = "reports.cu") -> str:
    """PTX of CUDA C++ by NVRTC, which the wheels of the `cupy` extra bring."""
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc", reason="make test installs CuPy")
    program = nvrtc.createProgram(source, name, (), ())
    try:
        nvrtc.compileProgram(program, ("--gpu-architecture=compute_75", *options))
    except nvrtc.NVRTCError:
        raise AssertionError(nvrtc.getProgramLog(program)) from None
    return nvrtc.getPTX(program).rstrip(b"\0").decode()


@pytest.fixture(scope="module")
def ptx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports") / "reports.ptx"
    path.write_text(compile_ptx(SOURCE, "-lineinfo"))
    return path


@pytest.fixture(scope="module")
def worker() -> Iterator[workers.RunningWorker]:
    with workers.worker() as running:
        yield running


@pytest.fixture(params=["direct", "inproc", "tcp"])
def route(request: pytest.FixtureRequest, ptx: Path) -> Route:
    if request.param == "tcp":
        return Route("tcp", request.getfixturevalue("worker").address, ptx)
    return Route(request.param, "" if request.param == "direct" else _embedded(), ptx)


def _embedded() -> str:
    return f"inproc://{native.softgpu()}"


def test_printf_appears_at_the_synchronizing_call(route):
    body = """
say("one")
assert launch("lines", 40, I32(3)) == 0
cuda.cuCtxSynchronize()
say("two")
assert launch("lines", 1, I32(1)) == 0
stream = cuda.stream()
cuda.download(cuda.alloc(4), 4)
say("three")
cuda.cuCtxSynchronize()
"""
    done = route.run(body)
    assert (done.returncode, done.stderr) == (0, "")
    lines = ["one", *(f"thread {i} of 3" for i in range(3)), "two", "thread 0 of 1", "three"]
    assert done.stdout.splitlines() == lines


def test_every_way_to_wait_prints(route):
    body = """
stream, event = cuda.stream(), cuda.event()
def kernel():
    cuda.cuLaunchKernel(cuda.function(module, "lines"), 1, 1, 1, 1, 1, 1, 0, stream,
                        (ctypes.c_void_p * 1)(ctypes.addressof(one)), None)
one = I32(1)
kernel(); cuda.cuStreamSynchronize(stream); say("stream")
kernel(); cuda.cuEventRecord(event, stream); cuda.cuEventSynchronize(event); say("event")
kernel(); cuda.cuCtxSynchronize(); say("context")
kernel(); cuda.cuModuleUnload(module); cuda.cuCtxSynchronize(); say("unload")
"""
    done = route.run(body)
    assert (done.returncode, done.stderr) == (0, "")
    line = "thread 0 of 1"
    assert done.stdout.splitlines() == [
        line, "stream", line, "event", line, "context", line, "unload",
    ]  # fmt: skip


def test_printf_knows_every_conversion(route):
    body = """
text = cuda.upload(b"from device memory\\0")
assert launch("conversions", 1, U64(text)) == 0
cuda.cuCtxSynchronize()
"""
    done = route.run(body)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "plain, and a percent sign: %",
        "-42|   42|42   |00042|+42| 42|7",
        "42|52|beef|BEEF|0xff|010",
        f"-5|-6000000000|18446744073709551615|123456789abcdef|{70000 - 65536}|{300 - 256}",
        "1.500000|0.667|      3.14|2.5       |1.234568e+04|1.000000E-10|1e-10|1E+20|0x1p-1",
        "from device memory|     right|left      |cu|c|    d",
        "    42|42    |1.23|   2.718",
        "0xabc0|(nil)",
        "1 2.500000 three 4 5",
        "inf -inf 0.000000",
        " ".join(str(i) for i in range(1, 33)) + "|%d",
    ]


def test_printf_returns_the_number_of_its_arguments(route):
    body = """
results = cuda.upload(bytes(12))
assert launch("counts", 1, U64(results)) == 0
print(list(memoryview(cuda.download(results, 12)).cast("i")))
"""
    done = route.run(body)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["none", "1 two", "[0, 2, -1]"]


def test_the_printf_buffer_drops_what_came_first(route):
    body = """
FIFO = 1
cuda.cuCtxSetLimit(FIFO, 32)
assert launch("lines", 4, I32(4)) == 0
cuda.cuCtxSynchronize()
say(f"set late: {cuda.code('cuCtxSetLimit', FIFO, 64)}")
"""
    done = route.run(body)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["thread 2 of 4", "thread 3 of 4", "set late: 1"]


STICKY = """
code = cuda.code("cuCtxSynchronize")
again = cuda.code("cuMemAlloc_v2", ctypes.byref(U64()), 4)
print(code, again, flush=True)
"""


def reported(done: subprocess.CompletedProcess[str]) -> str:
    """The program's standard error without the software GPU's own lines."""
    lines = done.stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("vgpu softgpu: "))


def test_assert(route):
    done = route.run('assert launch("asserts", 4, I32(2)) == 0' + STICKY)
    line = next(i for i, text in enumerate(SOURCE.splitlines(), 1) if "assert(i < n" in text)
    assert (done.returncode, done.stdout) == (0, "710 710\n")
    assert reported(done) == "".join(
        f"reports.cu:{line}: void asserts(int): block: [0,0,0], thread: [{i},0,0] "
        'Assertion `i < n && "too many"` failed.\n'
        for i in (2, 3)
    )


def test_trap(route):
    done = route.run('assert launch("traps", 2) == 0' + STICKY)
    assert (done.returncode, reported(done)) == (0, "")
    assert done.stdout == "before the trap\nbefore the trap\n719 719\n"


def test_an_access_out_of_bounds(route):
    done = route.run('assert launch("strays", 1, U64(cuda.alloc(400)), I32(100)) == 0' + STICKY)
    assert (done.returncode, done.stdout, reported(done)) == (0, "700 700\n", "")
    assert "strays: invalid write of 4 bytes" in done.stderr


def test_a_misaligned_access(route):
    done = route.run('assert launch("misaligns", 1, U64(cuda.alloc(400))) == 0' + STICKY)
    assert (done.returncode, done.stdout, reported(done)) == (0, "716 716\n", "")
    assert "misaligns: misaligned write of 4 bytes" in done.stderr
