"""What the log says of a stray access: kernel, place in the source, thread, and what is near."""

import ctypes

import pytest

from harness import clients, kernels, workers
from harness import driver as d
from softgpu import child

U64 = ctypes.c_uint64

#: touch(u64 at, u32 write): every thread reads or writes 4 bytes at at + 4 * tid
TOUCH = """
.file 7 "touch.cu"
.visible .entry touch(.param .u64 at, .param .u32 write)
{
  .reg .pred %p; .reg .b32 %r<4>; .reg .b64 %rd<3>;
  ld.param.u64 %rd1, [at]; ld.param.u32 %r1, [write];
  mov.u32 %r2, %tid.x; mul.wide.u32 %rd2, %r2, 4; add.u64 %rd1, %rd1, %rd2;
  setp.eq.u32 %p, %r1, 0;
  .loc 7 41 3
  @%p ld.global.u32 %r3, [%rd1];
  .loc 7 42 5
  @!%p st.global.u32 [%rd1], %r1;
  ret;
}
.visible .entry beyond_shared()
{
  .reg .b32 %r<3>;
  .shared .align 4 .b8 tile[64];
  mov.u32 %r1, tile; mov.u32 %r2, 1;
  st.shared.u32 [%r1+64], %r2;
  ret;
}
"""


def touch(cuda, address, *, write=True, threads=1, code=d.ILLEGAL_ADDRESS):
    function = cuda.function(cuda.module(kernels.HEADER + TOUCH), "touch")
    arguments = (U64(address), ctypes.c_uint32(write))
    assert cuda.launch(function, (1, 1, 1), (threads, 1, 1), *arguments) == 0
    assert cuda.code("cuCtxSynchronize") == code


def report(body, **environment):
    """The one line that the child's driver logs."""
    errors = child.run(body, **environment).errors
    lines = [line for line in errors.splitlines() if line.startswith("vgpu softgpu: kernel ")]
    assert len(lines) == 1, errors
    return lines[0].removeprefix("vgpu softgpu: ")


def test_the_first_byte_behind_an_allocation():
    def body(cuda):
        cuda.start()
        touch(cuda, cuda.alloc(400) + 40, threads=91)

    line = report(body)
    assert line.startswith("kernel touch: invalid write of 4 bytes at global address 0x")
    assert " (touch.cu:42), block (0,0,0), thread (90,0,0): right past the end of an " in line
    assert "past the end of an allocation of 400 bytes at 0x" in line
    assert line.endswith(", made by cuMemAlloc")


@pytest.mark.parametrize(
    ("size", "offset", "words"),
    [
        (400, 404, "4 bytes past the end of an allocation of 400 bytes"),
        (400, -512, "512 bytes before an allocation of 400 bytes"),
        (398, 396, "its last 2 bytes beyond the end of an allocation of 398 bytes"),
    ],
)
def test_distances(size, offset, words):
    def body(cuda):
        cuda.start()
        touch(cuda, cuda.alloc(size) + offset, write=False)

    line = report(body)
    assert "invalid read of 4 bytes" in line
    assert "(touch.cu:41)" in line
    assert words in line


def test_freed_memory():
    def body(cuda):
        cuda.start()
        address = cuda.alloc(1000)
        cuda.cuMemFree_v2(address)
        touch(cuda, address + 8)

    assert "8 bytes into an allocation of 1000 bytes at 0x" in (line := report(body))
    assert "made by cuMemAlloc and freed since" in line


def test_stream_ordered_memory():
    def body(cuda):
        cuda.start()
        address = cuda.out("cuMemAllocAsync", U64, 100, None)
        cuda.cuMemFreeAsync(address, None)
        touch(cuda, address)

    assert "0 bytes into an allocation of 100 bytes at 0x" in (line := report(body))
    assert "made by cuMemAllocAsync and freed since" in line


def reuse(cuda):
    cuda.start()
    first = cuda.alloc(1000)
    cuda.cuMemFree_v2(first)
    return first, cuda.alloc(1000)


def test_quarantine_keeps_freed_memory_from_being_used_again():
    def without(cuda):
        first, second = reuse(cuda)
        assert first == second

    def within(cuda):
        first, second = reuse(cuda)
        assert first != second
        touch(cuda, first)

    def bounded(cuda):
        cuda.start()
        seen = set()
        for _ in range(5):
            address = cuda.alloc(1000)
            cuda.cuMemFree_v2(address)
            seen.add(address)
        assert len(seen) == 3  # two wait, the third is used again

    child.run(without)
    assert "freed since" in report(within, VGPU_SOFT_QUARANTINE="1Mi")
    child.run(bounded, VGPU_SOFT_QUARANTINE="2Ki")


def test_other_places():
    def null(cuda):
        cuda.start()
        touch(cuda, 16)

    def nowhere(cuda):
        cuda.start()
        touch(cuda, 1 << 40)

    def misaligned(cuda):
        cuda.start()
        touch(cuda, cuda.alloc(64) + 2, code=716)

    def other_device(cuda):
        cuda.start(1)
        address = cuda.alloc(64)
        cuda.start(0)
        touch(cuda, address)

    def shared(cuda):
        cuda.start()
        function = cuda.function(cuda.module(kernels.HEADER + TOUCH), "beyond_shared")
        assert cuda.launch(function, (1, 1, 1), (1, 1, 1)) == 0
        assert cuda.code("cuCtxSynchronize") == d.ILLEGAL_ADDRESS

    assert report(null).endswith(": a null pointer, or an index from one")
    assert report(nowhere).endswith(": near no allocation")
    assert "which is no multiple of 4" in report(misaligned)
    line = report(other_device, VGPU_SOFT_DEVICES="2")
    assert line.endswith(" on device 1, which this device may not use")
    line = report(shared)
    assert "at shared address 0x40 (the block has 64 bytes of shared memory)" in line


def test_it_holds_at_the_programs_own_sizes_through_the_stub():
    body = f"""
from harness import kernels
TOUCH = {TOUCH!r}
cuda.start()
function = cuda.function(cuda.module(kernels.HEADER + TOUCH), "touch")
def run(address):
    cuda.launch(function, (1, 1, 1), (1, 1, 1), ctypes.c_uint64(address), ctypes.c_uint32(1))
    return cuda.code("cuCtxSynchronize")
small = cuda.alloc(4)
pooled = cuda.out("cuMemAllocAsync", ctypes.c_uint64, 12, None)
print(run(small), run(pooled + 8))
print(run({{}}))
"""
    with workers.worker() as running:
        for place in ("small + 4", "pooled + 12"):
            assert clients.run(running.address, body.replace("{}", place)) == "0 0\n700"
        log = running.log_text()
    assert "right past the end of an allocation of 4 bytes" in log
    assert "right past the end of an allocation of 12 bytes" in log
