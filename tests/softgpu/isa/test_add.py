"""The harness itself, on the plainest instruction: it passes, and it notices a wrong model."""

import numpy as np
import pytest

from softgpu.isa.device import Refused
from softgpu.isa.instruction import Instruction, check, execute

ADD = Instruction("add.s32 {d}, {a}, {b};", d="s32", a="s32", b="s32")


def test_a_right_model_agrees():
    check(ADD, lambda a, b: a + b)


def test_a_wrong_model_is_noticed():
    with pytest.raises(AssertionError, match="expected"):
        check(ADD, lambda a, b: a + b + (a == 2))


def test_a_vector_model():
    check(ADD, lambda a, b: a + b, vector=True)


def test_several_results_and_predicates():
    both = Instruction(
        "setp.lt.and.s64 {d}|{e}, {a}, {b}, {c};", d="pred", e="pred", a="s64", b="s64", c="pred"
    )
    check(both, lambda a, b, c: (a < b and c, not a < b and c))


def test_128_bits():
    check(Instruction("mov.b128 {d}, {a};", d="b128", a="b128"), lambda a: a)


def test_a_refusal_says_why():
    instruction = Instruction("wgmma.fence.sync.aligned;", a="u32")
    with pytest.raises(Refused, match=r"wgmma\.fence"):
        execute(instruction, [np.zeros(1, np.uint32)], "portable")
