"""VGPU_SOFT_CHECK: reads of memory that nobody wrote, races in shared memory."""

import ctypes

import pytest

from harness import driver as d
from harness import kernels
from softgpu import child

U32, U64 = ctypes.c_uint32, ctypes.c_uint64

#: sum(u64 out, u64 data, u32 first): out[tid] = data[first + tid] + 1
SUM = """
.file 1 "sum.cu"
.visible .entry sum(.param .u64 out, .param .u64 data, .param .u32 first)
{
  .reg .b32 %r<4>; .reg .b64 %rd<5>;
  ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [data]; ld.param.u32 %r1, [first];
  mov.u32 %r2, %tid.x; mul.wide.u32 %rd3, %r2, 4; add.u64 %rd1, %rd1, %rd3;
  add.u32 %r2, %r2, %r1; mul.wide.u32 %rd3, %r2, 4; add.u64 %rd2, %rd2, %rd3;
  .loc 1 12 1
  ld.global.u32 %r3, [%rd2];
  add.u32 %r3, %r3, 1;
  st.global.u32 [%rd1], %r3;
  ret;
}
.visible .entry count(.param .u64 counter)
{
  .reg .b32 %r<2>; .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [counter];
  atom.global.add.u32 %r1, [%rd1], 1;
  ret;
}
"""

#: exchange: 64 threads write a word each, BARRIER, then read their neighbour's across the warps
EXCHANGE = """
.file 1 "exchange.cu"
.visible .entry exchange(.param .u64 out)
{
  .reg .b32 %r<6>; .reg .b64 %rd<3>;
  .shared .align 4 .b8 tile[256];
  mov.u32 %r1, %tid.x; mov.u32 %r2, tile; shl.b32 %r3, %r1, 2; add.u32 %r4, %r2, %r3;
  .loc 1 20 1
  st.shared.u32 [%r4], %r1;
  BARRIER
  xor.b32 %r5, %r3, 128; add.u32 %r5, %r2, %r5;
  .loc 1 22 1
  ld.shared.u32 %r5, [%r5];
  AGAIN
  ld.param.u64 %rd1, [out]; cvt.u64.u32 %rd2, %r3; add.u64 %rd1, %rd1, %rd2;
  st.global.u32 [%rd1], %r5;
  ret;
}
"""


WRITE = "st.shared.u32 [%r4], %r1;"


def findings(outcome):
    lines = outcome.errors.splitlines()
    return [x.removeprefix("vgpu softgpu: ") for x in lines if "vgpu softgpu: kernel" in x]


def run(body, check):
    return findings(child.run(body, VGPU_SOFT_CHECK=check))


def summed(cuda, data, count, first=0):
    function = cuda.function(cuda.module(kernels.HEADER + SUM), "sum")
    out = cuda.alloc(4 * count)
    arguments = (U64(out), U64(data), U32(first))
    assert cuda.launch(function, (1, 1, 1), (count, 1, 1), *arguments) == 0
    return out


def test_a_read_of_memory_that_nobody_wrote():
    def body(cuda):
        cuda.start()
        data = cuda.alloc(400)
        cuda.cuMemsetD8_v2(data, 1, 200)
        for _ in range(3):  # one report for one place
            summed(cuda, data, 64)
            summed(cuda, data, 64, 32)
        assert cuda.code("cuCtxSynchronize") == d.SUCCESS

    lines = run(body, "uninitialised")
    assert len(lines) == 6  # six loads of the module, six places
    assert lines[0].startswith("kernel sum: uninitialised read of 4 bytes at global address 0x")
    assert " (sum.cu:12), block (0,0,0), thread (50,0,0): 200 bytes into an allocation" in lines[0]
    assert "thread (18,0,0): 200 bytes into" in lines[1]


def test_one_place_is_reported_once():
    def body(cuda):
        cuda.start()
        function = cuda.function(cuda.module(kernels.HEADER + SUM), "sum")
        arguments = (U64(cuda.alloc(128)), U64(cuda.alloc(128)), U32(0))
        for _ in range(3):
            assert cuda.launch(function, (2, 1, 1), (32, 1, 1), *arguments) == 0
        cuda.cuCtxSynchronize()

    assert len(run(body, "uninitialised,races")) == 1


def test_what_is_written_is_read_in_silence():
    def body(cuda):
        cuda.start()
        data = cuda.upload(bytes(256))  # a copy from the host
        first = summed(cuda, data, 64)  # a kernel's stores
        copied = cuda.alloc(256)
        cuda.cuMemcpyDtoD_v2(copied, first, 256)
        summed(cuda, copied, 64)
        pooled = cuda.out("cuMemAllocAsync", U64, 256, None)
        cuda.cuMemsetD32Async(pooled, 7, 64, None)
        summed(cuda, pooled, 64)
        counter = cuda.upload(bytes(4))
        count = cuda.function(cuda.module(kernels.HEADER + SUM), "count")
        assert cuda.launch(count, (1, 1, 1), (32, 1, 1), U64(counter)) == 0
        cuda.cuCtxSynchronize()
        assert cuda.download(counter, 4)[0] == 32

    assert run(body, "uninitialised") == []


def test_a_copy_of_nothing_is_nothing_and_atomics_read():
    def body(cuda):
        cuda.start()
        copied = cuda.alloc(256)
        cuda.cuMemcpyDtoD_v2(copied, cuda.alloc(256), 256)
        summed(cuda, copied, 1)
        count = cuda.function(cuda.module(kernels.HEADER + SUM), "count")
        assert cuda.launch(count, (1, 1, 1), (32, 1, 1), U64(cuda.alloc(4))) == 0
        cuda.cuCtxSynchronize()

    lines = run(body, "uninitialised")
    assert [line.split(":")[0] for line in lines] == ["kernel sum", "kernel count"]


def test_shared_memory_that_nobody_wrote():
    def body(cuda):
        cuda.start()
        text = EXCHANGE.replace("st.shared.u32 [%r4], %r1;", "").replace("BARRIER", "")
        function = cuda.function(
            cuda.module(kernels.HEADER + text.replace("AGAIN", "")), "exchange"
        )
        assert cuda.launch(function, (2, 1, 1), (64, 1, 1), U64(cuda.alloc(256))) == 0
        cuda.cuCtxSynchronize()

    lines = run(body, "uninitialised")
    assert len(lines) == 1
    assert "uninitialised read of 4 bytes at shared address 0x" in lines[0]
    assert "(exchange.cu:22)" in lines[0]


@pytest.mark.parametrize(
    ("barrier", "again", "expected"),
    [
        ("bar.sync 0;", "", []),
        ("bar.sync 1, 64;", "", []),
        # One warp reads what the other has not written yet, the other what that one has.
        ("", "", [("read", "wrote"), ("write", "read")]),
        ("bar.warp.sync 0xffffffff;", "", [("read", "wrote"), ("write", "read")]),
        # The second write may come before the other warp has read.
        ("bar.sync 0;", WRITE, [("read", "wrote"), ("write", "read")]),
        ("bar.sync 0;", "bar.sync 0;" + WRITE, []),
        # All write the same word.
        ("st.shared.u32 [%r2], %r1; bar.sync 0;", "", [("write", "wrote")]),
        ("atom.shared.add.u32 %r5, [tile], 1; bar.sync 0;", "", []),
    ],
)
def test_races(barrier, again, expected):
    def body(cuda):
        cuda.start()
        text = kernels.HEADER + EXCHANGE.replace("BARRIER", barrier).replace("AGAIN", again)
        function = cuda.function(cuda.module(text), "exchange")
        assert cuda.launch(function, (2, 1, 1), (64, 1, 1), U64(cuda.alloc(256))) == 0
        assert cuda.code("cuCtxSynchronize") == d.SUCCESS

    lines = run(body, "races")
    kinds = sorted(
        (line.split("race: ")[1].split()[0], "wrote" if ") wrote at" in line else "read")
        for line in lines
    )
    assert kinds == expected, lines
    for line in lines:
        assert line.startswith("kernel exchange: race: ")
        assert "with no barrier between" in line
    if barrier == "" and again == "":
        assert all("(exchange.cu:20)" in line and "(exchange.cu:22)" in line for line in lines)


def test_nothing_is_checked_unless_asked_for():
    def body(cuda):
        cuda.start()
        summed(cuda, cuda.alloc(256), 64)
        cuda.cuCtxSynchronize()

    assert findings(child.run(body)) == []
