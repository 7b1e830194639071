"""Progress of every lane, warp, block and stream, and runs that repeat to the last bit."""

import ctypes
import struct

import numpy as np
import pytest

from harness import kernels
from softgpu import child
from softgpu.isa import device

HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"

#: Every thread takes one lock, adds to a plain counter, and gives the lock back.
SPIN_LOCK = {
    # The form that never ends where the lanes of a warp run in lock step.
    "loop around the lock": """
TRY: atom.global.cas.b32 %r1, [%rd1], 0, 1;
setp.ne.u32 %p, %r1, 0; @%p bra TRY;
ld.volatile.global.u32 %r2, [%rd1+4]; add.u32 %r2, %r2, 1; st.volatile.global.u32 [%rd1+4], %r2;
membar.gl;
atom.global.exch.b32 %r1, [%rd1], 0;""",
    "critical section inside the loop": """
TRY: atom.global.cas.b32 %r1, [%rd1], 0, 1;
setp.ne.u32 %p, %r1, 0; @%p bra NEXT;
ld.volatile.global.u32 %r2, [%rd1+4]; add.u32 %r2, %r2, 1; st.volatile.global.u32 [%rd1+4], %r2;
membar.gl;
st.volatile.global.u32 [%rd1], 0;
bra DONE;
NEXT: nanosleep.u32 20; bra TRY;
DONE:""",
    "polling loads": """
TRY: ld.acquire.gpu.global.u32 %r1, [%rd1];
setp.ne.u32 %p, %r1, 0; @%p bra TRY;
atom.acquire.gpu.global.exch.b32 %r1, [%rd1], 1;
setp.ne.u32 %p, %r1, 0; @%p bra TRY;
ld.volatile.global.u32 %r2, [%rd1+4]; add.u32 %r2, %r2, 1; st.volatile.global.u32 [%rd1+4], %r2;
st.release.gpu.global.u32 [%rd1], 0;""",
}


@pytest.mark.parametrize("form", SPIN_LOCK)
def test_spin_lock_of_every_thread(form):
    ptx = (
        HEAD
        + """.visible .entry test(.param .u64 lock)
{
.reg .pred %p; .reg .b32 %r<4>; .reg .b64 %rd<2>;
ld.param.u64 %rd1, [lock];
"""
        + SPIN_LOCK[form]
        + "\nret;\n}\n"
    )
    for variant in device.VARIANTS:
        (got,) = device.variant(variant).run(ptx, "test", np.zeros(2, np.uint32), grid=3, block=80)
        assert got.tolist() == [0, 240]


#: How threads of other blocks are told values of 16 bytes: store and load.
WHOLE_ACCESSES = {
    "relaxed v4.b32": (
        "st.relaxed.gpu.global.v4.b32 [%rd1], {%r1, %r1, %r1, %r1};",
        "ld.relaxed.gpu.global.v4.b32 {%r2, %r3, %r4, %r5}, [%rd1];",
    ),
    "L2 v4.b32": (
        "st.global.cg.v4.b32 [%rd1], {%r1, %r1, %r1, %r1};",
        "ld.global.cg.v4.b32 {%r2, %r3, %r4, %r5}, [%rd1];",
    ),
    "volatile v2.b64": (
        "mov.b64 %rd2, {%r1, %r1}; st.volatile.v2.b64 [%rd1], {%rd2, %rd2};",
        "ld.volatile.v2.b64 {%rd2, %rd3}, [%rd1];"
        "mov.b64 {%r2, %r3}, %rd2; mov.b64 {%r4, %r5}, %rd3;",
    ),
    "atomic b128": (
        "mov.b64 %rd2, {%r1, %r1}; mov.b128 %q, {%rd2, %rd2};atom.global.exch.b128 %q, [%rd1], %q;",
        "ld.relaxed.gpu.global.b128 %q, [%rd1]; mov.b128 {%rd2, %rd3}, %q;"
        "mov.b64 {%r2, %r3}, %rd2; mov.b64 {%r4, %r5}, %rd3;",
    ),
}


@pytest.mark.parametrize("stride", [0, 16, 48])
@pytest.mark.parametrize("form", WHOLE_ACCESSES)
def test_16_bytes_are_seen_whole(form, stride):
    """CUB's look-back counts on it: it publishes state and value of a tile in one vector."""
    store, load = WHOLE_ACCESSES[form]
    ptx = (
        ".version 8.3\n.target sm_90\n.address_size 64\n"
        + """.visible .entry test(.param .u64 values, .param .u64 torn, .param .u32 last)
{
.reg .pred %p<4>; .reg .b32 %r<12>; .reg .b64 %rd<6>; .reg .b128 %q;
ld.param.u64 %rd1, [values]; ld.param.u64 %rd4, [torn]; ld.param.u32 %r9, [last];
mov.u32 %r8, %tid.x; mul.lo.u32 %r7, %r8, STRIDE; cvt.u64.u32 %rd2, %r7; add.u64 %rd1, %rd1, %rd2;
mad.wide.u32 %rd4, %r8, 4, %rd4;
mov.u32 %r1, %ctaid.x; setp.ne.u32 %p1, %r1, 0;
mov.u32 %r1, 0; mov.u32 %r6, 0;
@%p1 bra READ;
WRITE: add.u32 %r1, %r1, 1;
STORE
setp.lt.u32 %p2, %r1, %r9; @%p2 bra WRITE;
ret;
READ:
LOAD
setp.ne.u32 %p2, %r2, %r3; setp.ne.u32 %p3, %r4, %r5; or.pred %p2, %p2, %p3;
setp.ne.u32 %p3, %r2, %r4; or.pred %p2, %p2, %p3;
@%p2 add.u32 %r6, %r6, 1;
setp.lt.u32 %p2, %r2, %r9; @%p2 bra READ;
st.global.u32 [%rd4], %r6;
ret;
}
""".replace("STRIDE", str(stride))
        .replace("STORE", store)
        .replace("LOAD", load)
    )
    values, torn = np.zeros(32 * 12, np.uint32), np.zeros(32, np.uint32)
    for variant in device.VARIANTS:
        _, got = device.variant(variant).run(
            ptx, "test", values, torn, np.uint32(30000), grid=2, cooperative=True
        )
        assert got.tolist() == [0] * 32


GRID_BARRIER = (
    HEAD
    + """.visible .entry test(.param .u64 counters, .param .u64 out, .param .u32 rounds)
{
.reg .pred %p<4>; .reg .b32 %r<12>; .reg .b64 %rd<6>;
ld.param.u64 %rd1, [counters]; ld.param.u64 %rd2, [out]; ld.param.u32 %r9, [rounds];
mov.u32 %r1, %ctaid.x; mov.u32 %r2, %nctaid.x; mov.u32 %r3, %tid.x; mov.u32 %r4, 0;
mad.wide.u32 %rd3, %r1, 4, %rd2;
setp.ne.u32 %p1, %r3, 0;
ROUND:
// each block adds 1 to its neighbour's word, all blocks meet, and it must see its own neighbour's 1
add.u32 %r5, %r1, 1; rem.u32 %r5, %r5, %r2; mad.wide.u32 %rd4, %r5, 4, %rd2;
@!%p1 red.global.add.u32 [%rd4], 1;
bar.sync 0;
add.u32 %r4, %r4, 1; mul.lo.u32 %r6, %r4, %r2;
@%p1 bra MEET;
membar.gl;
red.global.add.u32 [%rd1], 1;
SPIN: ld.volatile.global.u32 %r7, [%rd1]; setp.lt.u32 %p2, %r7, %r6; @%p2 bra SPIN;
MEET:
bar.sync 0;
ld.volatile.global.u32 %r8, [%rd3]; setp.ge.u32 %p3, %r8, %r4;
@%p3 bra GOOD; trap; GOOD:
setp.lt.u32 %p2, %r4, %r9; @%p2 bra ROUND;
ret;
}
"""
)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_grid_barrier_over_all_resident_blocks(threads):
    def body(cuda):
        cuda.start()
        function = cuda.function(cuda.module(GRID_BARRIER), "test")
        per_sm = cuda.out(
            "cuOccupancyMaxActiveBlocksPerMultiprocessor", ctypes.c_int, function, 64, 0
        )
        blocks = 4 * per_sm
        assert blocks >= 64
        counter, out = cuda.upload(bytes(4)), cuda.upload(bytes(4 * blocks))
        arguments = ctypes.c_uint64(counter), ctypes.c_uint64(out), ctypes.c_uint32(3)
        assert cuda.launch(function, (blocks, 1, 1), (64, 1, 1), *arguments) == 0
        cuda.cuCtxSynchronize()
        assert cuda.download(out, 4 * blocks) == struct.pack("<I", 3) * blocks

    child.run(body, VGPU_SOFT_SMS="4", VGPU_SOFT_THREADS=threads)


def test_producer_and_consumer_warps_that_poll():
    """Warp 0 publishes ten numbers in shared memory, warp 1 acknowledges each, without barriers."""
    ptx = (
        HEAD
        + """.visible .entry test(.param .u64 out)
{
.reg .pred %p<4>; .reg .b32 %r<8>; .reg .b64 %rd<3>;
.shared .b32 full; .shared .b32 value; .shared .b32 sum;
ld.param.u64 %rd1, [out]; mov.u32 %r1, %tid.x; mov.u32 %r5, 0;
setp.eq.u32 %p1, %r1, 0;
@%p1 st.volatile.shared.u32 [full], 0;
bar.sync 0;
and.b32 %r2, %r1, 31; setp.ne.u32 %p2, %r2, 0; @%p2 bra END;
mov.u32 %r3, 0;
@!%p1 bra CONSUME;
PRODUCE:
W: ld.volatile.shared.u32 %r4, [full]; setp.ne.u32 %p3, %r4, 0; @%p3 bra W;
mad.lo.u32 %r4, %r3, %r3, 1; st.shared.u32 [value], %r4;
membar.cta; st.volatile.shared.u32 [full], 1;
add.u32 %r3, %r3, 1; setp.lt.u32 %p3, %r3, 10; @%p3 bra PRODUCE;
bra END;
CONSUME:
V: ld.volatile.shared.u32 %r4, [full]; setp.eq.u32 %p3, %r4, 0; @%p3 bra V;
ld.shared.u32 %r4, [value]; add.u32 %r5, %r5, %r4;
membar.cta; st.volatile.shared.u32 [full], 0;
add.u32 %r3, %r3, 1; setp.lt.u32 %p3, %r3, 10; @%p3 bra CONSUME;
st.global.u32 [%rd1], %r5;
END: ret;
}
"""
    )
    for variant in device.VARIANTS:
        (got,) = device.variant(variant).run(ptx, "test", np.zeros(1, np.uint32), block=64)
        assert got[0] == sum(k * k + 1 for k in range(10))


@pytest.mark.parametrize("threads", ["1", "2"])
def test_kernels_of_two_streams_wait_for_each_other(threads):
    """Two rounds of ping-pong: each kernel waits for what the other one writes."""
    ptx = (
        HEAD
        + """.visible .entry test(.param .u64 words, .param .u32 mine)
{
.reg .pred %p<2>; .reg .b32 %r<6>; .reg .b64 %rd<3>;
ld.param.u64 %rd1, [words]; ld.param.u32 %r1, [mine]; mov.u32 %r2, 0;
ROUND:
// word 0 counts turns; it is this kernel's turn when it is 2 * round + mine
mad.lo.u32 %r3, %r2, 2, %r1;
WAIT: ld.volatile.global.u32 %r4, [%rd1]; setp.ne.u32 %p0, %r4, %r3; @%p0 bra WAIT;
add.u32 %r4, %r4, 1; st.volatile.global.u32 [%rd1], %r4;
add.u32 %r2, %r2, 1; setp.lt.u32 %p1, %r2, 20; @%p1 bra ROUND;
ret;
}
"""
    )

    def body(cuda):
        cuda.start()
        function = cuda.function(cuda.module(ptx), "test")
        words = cuda.upload(bytes(4))
        for mine in (1, 0):  # the one that must wait is launched first
            arguments = ctypes.c_uint64(words), ctypes.c_uint32(mine)
            code = cuda.launch(function, (1, 1, 1), (1, 1, 1), *arguments, stream=cuda.stream())
            assert code == 0
        cuda.cuCtxSynchronize()
        assert cuda.download(words, 4) == struct.pack("<I", 40)

    child.run(body, VGPU_SOFT_THREADS=threads)


def test_shuffles_in_a_loop_that_lanes_leave_one_by_one():
    """A segmented sum by shuffles with the mask of those still there, from diverged code."""
    ptx = (
        HEAD
        + """.visible .entry test(.param .u64 out)
{
.reg .pred %p<4>; .reg .b32 %r<10>; .reg .b64 %rd<3>;
ld.param.u64 %rd1, [out]; mov.u32 %r1, %laneid; mad.wide.u32 %rd1, %r1, 4, %rd1;
mov.u32 %r2, 0; mov.u32 %r3, 0xffffffff; mov.u32 %r5, 0;
MORE:
// lanes below the round's number leave; the rest read the highest lane's counter
setp.lt.u32 %p1, %r1, %r2;
@%p1 bra OUT;
shl.b32 %r3, 0xffffffff, %r2;
add.u32 %r5, %r5, %r1;
shfl.sync.idx.b32 %r4, %r5, 31, 0x1f, %r3;
vote.sync.ballot.b32 %r6, %p1, %r3;
setp.ne.u32 %p2, %r6, 0; @%p2 trap;
add.u32 %r2, %r2, 1; setp.lt.u32 %p3, %r2, 32; @%p3 bra MORE;
OUT:
st.global.u32 [%rd1], %r4;
ret;
}
"""
    )
    for variant in device.VARIANTS:
        (got,) = device.variant(variant).run(ptx, "test", np.zeros(32, np.uint32))
        assert got.tolist() == [31 * min(lane + 1, 32) for lane in range(32)]


FLOAT_ATOMICS = (
    HEAD
    + """.visible .entry test(.param .u64 sum, .param .u64 values)
{
.reg .b32 %r<4>; .reg .b64 %rd<4>; .reg .f32 %f<3>; .reg .f64 %fd<3>;
ld.param.u64 %rd1, [sum]; ld.param.u64 %rd2, [values];
mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x; mad.lo.u32 %r1, %r1, %r2, %r3;
mad.wide.u32 %rd2, %r1, 4, %rd2; ld.global.f32 %f1, [%rd2];
red.global.add.f32 [%rd1], %f1;
cvt.f64.f32 %fd1, %f1; red.global.add.f64 [%rd1+8], %fd1;
ret;
}
"""
)


def test_deterministic_mode_fixes_the_order_of_float_atomics():
    values = np.random.default_rng(4).normal(size=64 * 128).astype(np.float32) * 1e3
    results = []
    for threads in ("1", "2", "4"):
        one = device.Device(VGPU_SOFT_DETERMINISTIC="1", VGPU_SOFT_THREADS=threads)
        for _ in range(2):
            got, _ = one.run(
                FLOAT_ATOMICS, "test", np.zeros(4, np.uint32), values, grid=64, block=128
            )
            results.append(got.tobytes())
        one.close()
    assert len(set(results)) == 1
    # Blocks in order, warps in order, lanes in order: the order of the array.
    total = np.float32(0)
    for value in values:
        total = np.float32(total + value)
    assert results[0][:4] == total.tobytes()


def test_two_grids_of_kernels_share_the_device():
    """A kernel that spins for ever but for another stream's store does not hold that one up."""

    def body(cuda):
        cuda.start()
        module = cuda.module(kernels.ALL)
        spin, fill = cuda.function(module, "spin"), cuda.function(module, "fill")
        flag = cuda.upload(bytes(8))
        waits, acts = cuda.stream(), cuda.stream()
        flag_argument = ctypes.c_uint64(flag)
        for _ in range(3):
            assert cuda.launch(spin, (1, 1, 1), (32, 1, 1), flag_argument, stream=waits) == 0
        arguments = flag_argument, ctypes.c_uint32(9), ctypes.c_uint32(1)
        assert cuda.launch(fill, (1, 1, 1), (32, 1, 1), *arguments, stream=acts) == 0
        cuda.cuCtxSynchronize()
        assert cuda.download(flag, 8) == struct.pack("<II", 9, 7)

    child.run(body, VGPU_SOFT_THREADS="1")
