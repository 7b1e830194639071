"""Barriers of a block and of a warp (PTX ISA 9.7.13.1 to 9.7.13.4)."""

import numpy as np
import pytest

from softgpu.isa import device
from softgpu.isa.device import Refused

HEAD = ".version 8.6\n.target sm_90\n.address_size 64\n"


def kernel(body: str) -> str:
    """test(u64 out): %r1 is the thread, %rd1 points to out, %rd2 to out[thread]."""
    return (
        HEAD
        + """.visible .entry test(.param .u64 out)
{
.reg .pred %p<8>; .reg .b32 %r<16>; .reg .b64 %rd<8>;
.shared .align 8 .b32 words[1024];
ld.param.u64 %rd1, [out];
mov.u32 %r1, %tid.x;
mul.wide.u32 %rd2, %r1, 4; mov.u64 %rd3, words; add.u64 %rd3, %rd3, %rd2; add.u64 %rd2, %rd1, %rd2;
"""
        + body
        + "\nret;\n}\n"
    )


def run(body: str, threads: int, words: int | None = None) -> np.ndarray:
    out = np.full(words or threads, 0xFFFFFFFF, np.uint32)
    results = [
        device.variant(v).run(kernel(body), "test", out, block=threads)[0] for v in device.VARIANTS
    ]
    for other in results[1:]:
        assert np.array_equal(results[0], other)
    return results[0]


@pytest.mark.parametrize(
    "sync",
    ["bar.sync 0", "bar.cta.sync 3", "barrier.sync 1", "barrier.cta.sync.aligned 15",
     "bar.sync %r9", "barrier.sync.aligned 2, 100", "bar.sync 2, %r10"],
)  # fmt: skip
@pytest.mark.parametrize("threads", [96, 70])
def test_sync(sync, threads):
    if "100" in sync:
        sync = sync.replace("100", str(-(-threads // 32) * 32))
    body = f"""
mov.u32 %r9, 7; mov.u32 %r10, {-(-threads // 32) * 32};
st.shared.u32 [%rd3], %r1;
{sync};
sub.u32 %r2, {threads - 1}, %r1; mul.wide.u32 %rd4, %r2, 4; mov.u64 %rd5, words;
add.u64 %rd4, %rd5, %rd4; ld.shared.u32 %r3, [%rd4];
{sync};
st.shared.u32 [%rd3], %r3;
{sync};
ld.shared.u32 %r4, [%rd4];
add.u32 %r3, %r3, %r4; st.global.u32 [%rd2], %r3;"""
    assert run(body, threads).tolist() == [threads - 1] * threads


def test_exited_threads_do_not_hold_up_others():
    body = """
setp.ge.u32 %p1, %r1, 40; @%p1 exit;
setp.lt.u32 %p2, %r1, 3; @%p2 exit;
bar.sync 0;
st.global.u32 [%rd2], %r1;"""
    got = run(body, 96)
    assert got[3:40].tolist() == list(range(3, 40))
    assert (got[:3] == 0xFFFFFFFF).all()
    assert (got[40:] == 0xFFFFFFFF).all()


@pytest.mark.parametrize("name", ["bar", "barrier"])
@pytest.mark.parametrize("count", ["", ", 96"])
def test_reductions(name, count):
    body = f"""
and.b32 %r2, %r1, 1; setp.eq.u32 %p1, %r2, 1;
setp.lt.u32 %p2, %r1, 200; setp.gt.u32 %p3, %r1, 200;
{name}.red.popc.u32 %r3, 0{count}, %p1;
{name}.red.popc.u32 %r4, 1{count}, !%p2;
{name}.red.and.pred %p4, 2{count}, %p2;
{name}.red.and.pred %p5, 3{count}, %p1;
{name}.red.or.pred %p6, 4{count}, %p1;
{name}.red.or.pred %p7, 5{count}, %p3;
selp.u32 %r5, 1, 0, %p4; selp.u32 %r6, 2, 0, %p5; selp.u32 %r7, 4, 0, %p6; selp.u32 %r8, 8, 0, %p7;
add.u32 %r5, %r5, %r6; add.u32 %r5, %r5, %r7; add.u32 %r5, %r5, %r8;
shl.b32 %r3, %r3, 8; shl.b32 %r4, %r4, 16; add.u32 %r5, %r5, %r3; add.u32 %r5, %r5, %r4;
st.global.u32 [%rd2], %r5;"""
    assert run(body, 96).tolist() == [48 << 8 | 1 | 4] * 96


def test_producer_and_consumer_warps():
    """Warp 0 fills a buffer, warp 1 empties it, ten times, with two named barriers and arrivals."""
    body = """
setp.ge.u32 %p1, %r1, 32;
mov.u32 %r2, 0; mov.u32 %r6, 0;
and.b32 %r5, %r1, 31; mul.wide.u32 %rd4, %r5, 4; mov.u64 %rd5, words; add.u64 %rd4, %rd5, %rd4;
@%p1 bra CONSUMER;
PRODUCE:
setp.eq.u32 %p2, %r2, 0;
@%p2 bra FILL;
bar.sync 2, 64;
FILL:
mad.lo.u32 %r3, %r2, 1000, %r5;
st.shared.u32 [%rd4], %r3;
bar.arrive 1, 64;
add.u32 %r2, %r2, 1; setp.lt.u32 %p3, %r2, 10;
@%p3 bra PRODUCE;
bra DONE;
CONSUMER:
bar.sync 1, 64;
ld.shared.u32 %r3, [%rd4];
mad.lo.u32 %r4, %r2, 1000, %r5;
setp.ne.u32 %p4, %r3, %r4; @%p4 add.u32 %r6, %r6, 1;
add.u32 %r2, %r2, 1; setp.lt.u32 %p3, %r2, 10;
@!%p3 bra DONE;
bar.arrive 2, 64;
bra CONSUMER;
DONE:
st.global.u32 [%rd2], %r6;"""
    assert run(body, 64).tolist() == [0] * 64


def test_a_warp_arrives_as_a_whole():
    """Half of the warp arrives first, on another path: it must count once, when all have come."""
    body = """
setp.ge.u32 %p1, %r1, 32; @%p1 bra WAIT;
setp.lt.u32 %p2, %r1, 16;
@%p2 bra FIRST;
st.shared.u32 [%rd3], %r1;
FIRST:
@!%p2 bra BEFORE;
st.shared.u32 [%rd3], %r1;
BEFORE:
barrier.arrive 1, 96;
bra DONE;
WAIT:
barrier.sync 1, 96;
sub.u32 %r2, %r1, 32; and.b32 %r2, %r2, 31; mul.wide.u32 %rd4, %r2, 4; mov.u64 %rd5, words;
add.u64 %rd4, %rd5, %rd4; ld.shared.u32 %r3, [%rd4]; st.global.u32 [%rd2], %r3;
DONE:"""
    got = run(body, 96)
    assert got[32:].tolist() == [*range(32), *range(32)]


def test_warp_barrier_orders_divergent_lanes():
    body = """
setp.lt.u32 %p1, %r1, 7;
st.shared.u32 [%rd3], 0;
bar.warp.sync 0xffffffff;
@%p1 bra LATE;
st.shared.u32 [%rd3], %r1;
bar.warp.sync 0xffffffff;
bra READ;
LATE:
add.u32 %r2, %r1, 100;
st.shared.u32 [%rd3], %r2;
bar.warp.sync 0xffffffff;
READ:
xor.b32 %r3, %r1, 31; mul.wide.u32 %rd4, %r3, 4; mov.u64 %rd5, words; add.u64 %rd4, %rd5, %rd4;
ld.shared.u32 %r4, [%rd4]; st.global.u32 [%rd2], %r4;"""
    want = [31 - i + (100 if 31 - i < 7 else 0) for i in range(32)]
    assert run(body, 32).tolist() == want


def test_a_barrier_that_cannot_complete_is_a_fault():
    body = "setp.lt.u32 %p1, %r1, 32; @%p1 bra OUT; bar.sync 1, 96; OUT: bar.sync 2, 96;"
    with pytest.raises(Refused, match="719") as refused:
        run(body, 96)
    assert "barrier" in refused.value.log


def test_barrier_sixteen_does_not_exist():
    with pytest.raises(Refused, match="715"):
        run("mov.u32 %r2, 16; bar.sync %r2;", 32)
