"""mbarrier and cp.async (PTX ISA 9.7.9.25, 9.7.13.15)."""

import numpy as np
import pytest

from softgpu.isa import device

HEAD = ".version 9.0\n.target sm_90\n.address_size 64\n"


def run(body: str, threads: int, *arrays: np.ndarray) -> list[np.ndarray]:
    """test(u64 out, u64 in): %r1 is the thread, %rd2 and %rd4 point to its words of out and in."""
    ptx = (
        HEAD
        + """.visible .entry test(.param .u64 out, .param .u64 in)
{
.reg .pred %p<8>; .reg .b32 %r<16>; .reg .b64 %rd<12>;
.shared .align 16 .b64 bar[2]; .shared .align 16 .b8 tile[4096];
ld.param.u64 %rd1, [out]; ld.param.u64 %rd3, [in];
mov.u32 %r1, %tid.x; mad.wide.u32 %rd2, %r1, 4, %rd1; mad.wide.u32 %rd4, %r1, 16, %rd3;
setp.eq.u32 %p1, %r1, 0;
"""
        + body
        + "\nret;\n}\n"
    )
    results = [device.variant(v).run(ptx, "test", *arrays, block=threads) for v in device.VARIANTS]
    for other in results[1:]:
        for ours, theirs in zip(results[0], other, strict=True):
            assert np.array_equal(ours, theirs)
    return results[0]


EMPTY = np.zeros(4096, np.uint8)


@pytest.mark.parametrize("wait", ["try_wait", "test_wait"])
@pytest.mark.parametrize("form", ["token", "parity"])
def test_phases(wait, form):
    """Ten rounds in which every thread passes its value to the next one through shared memory."""
    waiting = {
        "token": f"mbarrier.{wait}.shared.b64 %p2, [bar], %rd6;",
        "parity": f"mbarrier.{wait}.parity.acquire.cta.shared::cta.b64 %p2, [bar], %r6;",
    }[form]
    body = f"""
@%p1 mbarrier.init.shared.b64 [bar], 96;
bar.sync 0;
mov.u32 %r2, %r1; mov.u32 %r3, 0;
mov.u64 %rd5, tile; mad.wide.u32 %rd7, %r1, 4, %rd5;
add.u32 %r4, %r1, 1; rem.u32 %r4, %r4, 96; mad.wide.u32 %rd8, %r4, 4, %rd5;
ROUND:
st.shared.u32 [%rd7], %r2;
mbarrier.arrive.shared.b64 %rd6, [bar];
and.b32 %r6, %r3, 1; shl.b32 %r6, %r6, 0;
FIRST: {waiting} @!%p2 bra FIRST;
ld.shared.u32 %r2, [%rd8];
bar.sync 0;
add.u32 %r3, %r3, 1; setp.lt.u32 %p3, %r3, 10; @%p3 bra ROUND;
st.global.u32 [%rd2], %r2;
@%p1 mbarrier.inval.shared.b64 [bar];"""
    got = run(body, 96, np.zeros(96, np.uint32), EMPTY)[0]
    assert got.tolist() == [(i + 10) % 96 for i in range(96)]


def test_transactions_and_counts():
    """A phase ends when no arrival and no byte is pending; arrive_drop lowers what comes next."""
    body = """
mbarrier.init.shared::cta.b64 [bar], 3;
mbarrier.arrive.shared.b64 %rd5, [bar]; mbarrier.pending_count.b64 %r2, %rd5;
st.global.u32 [%rd1], %r2;
mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 %rd6, [bar], 64;
mbarrier.pending_count.b64 %r2, %rd6; st.global.u32 [%rd1+4], %r2;
mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 36;
mbarrier.arrive.shared.b64 _, [bar];
mbarrier.test_wait.shared.b64 %p2, [bar], %rd5; selp.u32 %r2, 1, 0, %p2;
st.global.u32 [%rd1+8], %r2;
mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [bar], 60;
mbarrier.test_wait.parity.shared.b64 %p2, [bar], 0; selp.u32 %r2, 1, 0, %p2;
st.global.u32 [%rd1+12], %r2;
mbarrier.complete_tx.relaxed.cluster.shared::cta.b64 [bar], 40;
mbarrier.test_wait.shared.b64 %p2, [bar], %rd5; selp.u32 %r2, 1, 0, %p2;
st.global.u32 [%rd1+16], %r2;
mbarrier.arrive_drop.shared.b64 %rd7, [bar];
mbarrier.arrive.noComplete.shared.b64 %rd8, [bar], 1; mbarrier.pending_count.b64 %r2, %rd8;
st.global.u32 [%rd1+20], %r2;
mbarrier.test_wait.shared.b64 %p2, [bar], %rd7; selp.u32 %r2, 1, 0, %p2;
st.global.u32 [%rd1+24], %r2;
mbarrier.arrive.shared.b64 %rd8, [bar];
mbarrier.test_wait.shared.b64 %p2, [bar], %rd7; selp.u32 %r2, 1, 0, %p2;
st.global.u32 [%rd1+28], %r2;
mbarrier.arrive.shared.b64 %rd8, [bar]; mbarrier.pending_count.b64 %r2, %rd8;
st.global.u32 [%rd1+32], %r2;"""
    got = run(body, 1, np.zeros(9, np.uint32), EMPTY)[0]
    # Pending before: 3, 2; not done, not done, done; 2 left, not done, done; 2 expected from now.
    assert got.tolist() == [3, 2, 0, 0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("size", [4, 8, 16])
def test_copies(size):
    """Whole, with a shorter source (the rest is zero), and ignored by a predicate."""
    for form, kept in (("", 32), (", %r6", 3), (", %p3", 0)):
        cache = "cg" if size == 16 else "ca"
        body = f"""
mov.u32 %r6, 3; setp.eq.u32 %p3, %r1, %r1;
mov.u64 %rd5, tile; mad.wide.u32 %rd5, %r1, 16, %rd5;
st.shared.v4.b32 [%rd5], {{-1, -1, -1, -1}};
cp.async.{cache}.shared.global.L2::128B [%rd5], [%rd4], {size}{form};
cp.async.commit_group; cp.async.wait_group 0;
ld.shared.v4.b32 {{%r2, %r3, %r4, %r5}}, [%rd5];
mad.wide.u32 %rd6, %r1, 16, %rd1; st.global.v4.b32 [%rd6], {{%r2, %r3, %r4, %r5}};"""
        data = np.random.default_rng(3).integers(0, 256, 32 * 16, np.uint8)
        got = run(body, 32, np.zeros(32 * 16, np.uint8), data)[0].reshape(32, 16)
        want = np.full((32, 16), 255, np.uint8)
        want[:, :size] = 0
        n = min(size, kept)
        want[:, :n] = data.reshape(32, 16)[:, :n]
        assert np.array_equal(got, want), form


def test_copies_signal_a_barrier():
    body = """
@%p1 mbarrier.init.shared.b64 [bar], 32;
bar.sync 0;
mov.u64 %rd5, tile; mad.wide.u32 %rd5, %r1, 16, %rd5;
cp.async.ca.shared.global [%rd5], [%rd4], 4;
cp.async.mbarrier.arrive.noinc.shared.b64 [bar];
WAIT: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0, 1000; @!%p2 bra WAIT;
xor.b32 %r3, %r1, 31; mov.u64 %rd5, tile; mad.wide.u32 %rd5, %r3, 16, %rd5;
ld.shared.u32 %r4, [%rd5]; st.global.u32 [%rd2], %r4;"""
    data = np.arange(128, dtype=np.uint32)
    got = run(body, 32, np.zeros(32, np.uint32), data)[0]
    assert got.tolist() == [4 * (31 - i) for i in range(32)]
