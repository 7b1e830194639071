"""What is not implemented is refused by name and line, its neighbours work, the docs list it."""

import re

import numpy as np
import pytest

from harness import driver as d
from harness.native import REPOSITORY
from softgpu.isa import device, refused
from softgpu.isa.device import Refused

MODULE = """.version 9.0
.target sm_120a
.address_size 64
.visible .entry good(.param .u64 out)
{{
.reg .b64 %rd; ld.param.u64 %rd, [out]; st.global.u32 [%rd], 42; ret;
}}
.visible .entry bad()
{{
.reg .b16 %h<4>; .reg .b32 %r<16>; .reg .b64 %rd<4>; .reg .b128 %q<4>; .reg .pred %p<4>;
{instruction}
ret;
}}
"""
LINE = 11


@pytest.mark.parametrize(
    ("what", "instruction"), refused.FORMS, ids=[t.split()[0] for _, t in refused.FORMS]
)
def test_refused_by_name_and_line(what, instruction):
    ptx = MODULE.format(instruction=instruction)
    gpu = device.variant("portable")
    (got,) = gpu.run(ptx, "good", np.zeros(1, np.uint32), block=1)
    assert got[0] == 42
    with pytest.raises(Refused) as error:
        gpu.run(ptx, "bad")
    assert error.value.code == d.INVALID_PTX
    opcode = instruction.split()[0].rstrip(";")
    assert f"bad, line {LINE}: {opcode}" in error.value.log


def test_the_page_lists_them():
    page = (REPOSITORY / "docs" / "softgpu.md").read_text()
    assert page == refused.rewritten(page), "docs/softgpu.md is old: make generated"


def base_opcodes() -> list[str]:
    source = (REPOSITORY / "native" / "softgpu" / "ptx" / "opcodes.cc").read_text()
    table = source[source.index("set{") : source.index("return set;")]
    return re.findall(r'"(\w+)"', table)


def test_every_base_opcode_is_implemented_or_listed():
    listed = {text.split(".")[0] for _, text in refused.FORMS} | {
        name.strip("`").split(".")[0]
        for what, _ in refused.FORMS
        for name in re.findall(r"`([\w.*]+)`", what)
    }
    assert len(base_opcodes()) > 100
    for base in base_opcodes():
        with_nothing = MODULE.format(instruction=f"{base};")
        try:
            device.variant("portable").run(with_nothing, "bad")
        except Refused as error:
            if "unknown instruction" in error.log:
                assert base in listed, base
