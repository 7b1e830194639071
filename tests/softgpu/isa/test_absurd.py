"""Texts that no compiler writes: a clean error, no crash, and no memory to speak of."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness import driver as d
from softgpu.isa.device import Device, Refused

HEAD = ".version 8.8\n.target sm_90\n.address_size 64\n"
MOST_MEMORY = 600 << 20  # bytes of the whole process, the library included


def kernel(body: str, head: str = "") -> str:
    return HEAD + head + ".visible .entry test() {\n" + body + "\nret;\n}\n"


HUGE = {
    "shared memory": kernel(".shared .b8 x[1152921504606846976]; st.shared.b8 [x], 0;"),
    "shared memory of several variables": kernel(
        "".join(f".shared .b8 x{i}[1073741824];" for i in range(8)) + "st.shared.b8 [x0], 0;"
    ),
    "shared extents that wrap": kernel(".shared .b8 x[4294967296][4294967296];"),
    "local memory": kernel(".local .b8 x[1152921504606846976];"),
    "local memory of 1 MiB": kernel(".local .b8 x[1048576];"),
    "a call's parameter": kernel("{ .param .b8 x[1073741824]; }"),
    "registers": kernel(".reg .b32 %r<4000000000>;"),
    "registers in many ranges": kernel("".join(f".reg .b32 %a{i}_<4000000>;" for i in range(9))),
    "a parameter": HEAD + ".visible .entry test(.param .b8 x[1152921504606846976]) { ret; }",
    "parameters": HEAD
    + ".visible .entry test("
    + ", ".join(f".param .b8 x{i}[1048576]" for i in range(64))
    + ") { ret; }",
    "a global variable": HEAD + ".global .b8 x[1152921504606846976];\n" + kernel("")[len(HEAD) :],
    "a global variable whose extents wrap": kernel("", ".global .b32 x[4294967296][4294967296];\n"),
    "an initial value": kernel("", ".global .b8 x[2][2147483647] = {{1}, {2}};\n"),
    "an alignment": kernel("", ".global .align 1152921504606846976 .b8 x[4];\n"),
    "nested blocks": kernel("{" * 20000 + "}" * 20000),
    "nested expressions": kernel(
        ".reg .b32 %r; mov.b32 %r, " + "(" * 5000 + "1" + ")" * 5000 + ";"
    ),
    "nested signs": kernel(".reg .b32 %r; mov.b32 %r, " + "~" * 5000 + "1;"),
    "nested vectors": kernel(".reg .b32 %r; mov.b32 %r, " + "{" * 5000 + "1" + "}" * 5000 + ";"),
    "nested initial values": kernel("", ".global .b32 x[4] = " + "{" * 5000 + "}" * 5000 + ";\n"),
    "an offset before a parameter": HEAD
    + ".visible .entry test(.param .u64 a) { .reg .b32 %r; ld.param.u32 %r, [a+-4]; ret; }",
    "an offset far behind a parameter": HEAD
    + ".visible .entry test(.param .u64 a) { .reg .b32 %r; ld.param.u32 %r, [a+0x7fffffffffffffff]; }",  # noqa: E501
    "a literal of 128 bits": kernel(".reg .b128 %q; mov.b128 %q, 5;"),
    "a generic address of 32 bits": kernel(
        ".shared .b8 x[16]; .reg .b32 %r; cvta.shared.u32 %r, %r; st.b32 [x], %r;"
    ),
    "a generic address of unknown type": kernel(".reg .b64 %x; cvta.local.u54 %x, %x;"),
    "a target of many digits": kernel("").replace("sm_90", "sm_9000000000"),
    "a call of a kernel": HEAD + ".visible .entry test() { call test; ret; }",
    "branch tables": kernel(
        "L: T: .branchtargets " + "L, " * 20000 + "L;" + ".reg .b32 %r;" + "brx.idx %r, T;" * 400
    ),
}


@pytest.fixture(scope="module")
def gpu() -> Iterator[Device]:
    device = Device(VGPU_SOFT_MEMORY="64Mi", VGPU_SOFT_THREADS="1")
    yield device
    device.close()


def peak_memory(gpu: Device) -> int:
    status = Path(f"/proc/{gpu._process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) << 10


@pytest.mark.parametrize("what", HUGE)
def test_absurd_sizes(gpu, what):
    with pytest.raises(Refused) as refused:
        gpu.run(HUGE[what], "test")
    assert refused.value.code in (d.INVALID_VALUE, d.OUT_OF_MEMORY, d.INVALID_PTX,
                                  d.LAUNCH_OUT_OF_RESOURCES, d.INVALID_IMAGE)  # fmt: skip
    assert peak_memory(gpu) < MOST_MEMORY


def test_large_but_possible(gpu):
    """A million registers, of which few are used; ten thousand statements; a long table."""
    body = ".reg .b32 %r<1000000>; .reg .b64 %rd; ld.param.u64 %rd, [out]; mov.u32 %r0, 0;\n"
    body += "add.u32 %r0, %r0, 1;\n" * 10000
    body += "mov.u32 %r1, 3999; T: .branchtargets " + "A, " * 3999 + "B; brx.idx %r1, T;\n"
    body += "A: trap; B: st.global.u32 [%rd], %r0;\n"
    ptx = HEAD + ".visible .entry test(.param .u64 out) {\n" + body + "ret;\n}\n"
    (got,) = gpu.run(ptx, "test", np.zeros(1, np.uint32), block=1)
    assert got[0] == 10000
    assert peak_memory(gpu) < MOST_MEMORY


def test_every_prefix(gpu):
    """A text that ends anywhere is refused, or is the shorter text that it looks like."""
    text = kernel(
        ".reg .pred %p; .reg .b32 %r<4>; .shared .align 4 .b8 t[16];\n"
        "mov.u32 %r1, %tid.x; setp.lt.and.u32 %p|_, %r1, 0x10, !%p; @!%p bra $L; // note\n"
        '.loc 1 2 3, function_name $L, inlined_at 1 2 3\n.pragma "nounroll";\n'
        "{ .reg .b64 %x; cvt.u64.u32 %x, %r1; } /* more */ st.shared.v2.b32 [t+8], {%r1, -1};\n"
        "$L: mov.b32 %r2, (1 << 4) | 3;",
        ".global .align 8 .u64 x[2] = {generic(x) + 8, 0d3FF0000000000000};\n",
    )
    codes = {d.INVALID_PTX: 0, d.NOT_FOUND: 0, 0: 0, d.INVALID_IMAGE: 0}
    for end in range(len(HEAD), len(text)):
        try:
            gpu.run(text[:end], "test")
            codes[0] += 1
        except Refused as refused:
            codes[refused.code] += 1
    assert codes[0] <= 3  # only blanks are missing
    assert codes[d.INVALID_PTX] > 300
