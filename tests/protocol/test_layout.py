"""Layouts on the wire are frozen: fields may be appended, never changed, moved or removed."""

import re
from pathlib import Path

import pytest

from protocol.paths import NATIVE
from vgpu.protocol.version import CURRENT

SIZES = {
    "uint8_t": 1,
    "FrameKind": 1,
    "std::byte": 1,
    "uint16_t": 2,
    "uint32_t": 4,
    "int32_t": 4,
    "uint64_t": 8,
}

#: header, structure -> size, and its fields as version 1.0 has them
FROZEN: dict[tuple[str, str], tuple[int, str]] = {
    ("wire/record.h", "RecordHeader"): (
        32,
        "uint32_t size, uint16_t opcode, uint16_t flags, uint32_t thread, uint32_t call, "
        "uint64_t context, uint64_t stream",
    ),
    ("wire/record.h", "ReplyHeader"): (
        32,
        "uint32_t size, uint32_t call, int32_t result, uint32_t late_error, uint64_t late_call, "
        "uint64_t bulk_through",
    ),
    ("transport/frame.h", "FrameHeader"): (
        32,
        "uint32_t magic, FrameKind kind, uint8_t reserved, uint16_t flags, uint64_t number, "
        "uint64_t ack, uint64_t credit",
    ),
    ("transport/frame.h", "HelloBody"): (
        40,
        "uint16_t major, uint16_t minor, uint8_t lane, uint8_t[3] reserved, std::byte[16] token, "
        "uint64_t command_window, uint64_t bulk_window",
    ),
    ("transport/frame.h", "WelcomeBody"): (
        40,
        "uint16_t major, uint16_t minor, uint32_t reserved, uint64_t command_window, "
        "uint64_t bulk_window, uint64_t reply_window, uint64_t download_window",
    ),
    ("transport/frame.h", "ChunkBody"): (
        24,
        "uint64_t transfer, uint64_t total, uint64_t offset",
    ),
    ("transport/frame.h", "GoodbyeBody"): (8, "uint64_t bulk_through"),
    ("wire/calls.h", "CopyEnd"): (
        56,
        "uint32_t memory_type, uint32_t lod, uint64_t pointer, uint64_t pitch, uint64_t height, "
        "uint64_t x_bytes, uint64_t y, uint64_t z",
    ),
    ("wire/calls.h", "MemPoolProps"): (
        32,
        "uint32_t alloc_type, uint32_t handle_types, uint32_t location_type, int32_t location_id, "
        "uint64_t max_size, uint32_t usage, uint32_t reserved",
    ),
    ("wire/calls.h", "MemAllocationProps"): (
        24,
        "uint32_t type, uint32_t requested_handle_types, uint32_t location_type, "
        "int32_t location_id, uint8_t compression, uint8_t gpu_direct_rdma, uint16_t usage, "
        "uint32_t reserved",
    ),
    ("wire/calls.h", "LoadImage"): (
        24,
        "uint32_t kind, uint32_t parts, uint32_t options, uint32_t info_bytes, "
        "uint32_t error_bytes, uint32_t log_verbose",
    ),
    ("wire/calls.h", "LaunchHeader"): (
        40,
        "uint64_t function, uint32_t[3] grid, uint32_t[3] block, uint32_t shared_bytes",
    ),
}


def text(header: str) -> str:
    return Path(NATIVE / header).read_text(encoding="utf-8")


def fields(header: str, name: str) -> list[str]:
    body = re.search(rf"struct {name} \{{(.*?)\n\}};", text(header), re.DOTALL)
    assert body, f"no struct {name} in {header}"
    found = []
    for line in re.sub(r"//[^\n]*", "", body[1]).split(";"):
        if not (declared := " ".join(line.split())):
            continue
        if array := re.fullmatch(r"std::array<([\w:]+), (\d+)> (\w+)", declared):
            found.append(f"{array[1]}[{array[2]}] {array[3]}")
        elif array := re.fullmatch(r"(\w+) (\w+)\[(\d+)\]", declared):
            found.append(f"{array[1]}[{array[3]}] {array[2]}")
        else:
            found.append(declared)
    return found


def size_of(declared: list[str]) -> int:
    """Natural alignment, as on every machine that we run on."""
    at, widest = 0, 1
    for field in declared:
        kind, count = re.fullmatch(r"([\w:]+)(?:\[(\d+)\])? \w+", field).groups()  # type: ignore[union-attr]
        size = SIZES[kind]
        widest = max(widest, size)
        at = -(-at // size) * size + size * int(count or 1)
    return -(-at // widest) * widest


@pytest.mark.parametrize(("header", "name"), FROZEN)
def test_structure_is_frozen(header: str, name: str) -> None:
    size, frozen = FROZEN[header, name]
    expected = frozen.split(", ")
    assert fields(header, name)[: len(expected)] == expected
    assert size_of(fields(header, name)) >= size
    assert size_of(expected) == size


def test_every_structure_of_the_frames_is_frozen() -> None:
    for header in ("wire/record.h", "transport/frame.h"):
        declared = set(re.findall(r"^struct (\w+) \{", text(header), re.MULTILINE)) - {"Decoded"}
        assert declared == {name for file, name in FROZEN if file == header}


def test_the_version_is_the_same_in_python_and_in_cpp() -> None:
    numbers = dict(re.findall(r"constexpr uint16_t (k\w+) = (\d+);", text("wire/record.h")))
    assert (int(numbers["kMajor"]), int(numbers["kMinor"])) == (CURRENT.major, CURRENT.minor)


def test_handle_kinds_are_frozen() -> None:
    body = re.search(r"enum class HandleKind : uint8_t \{(.*?)\};", text("wire/handle.h"), re.S)
    assert body
    kinds = (
        "kContext = 1, kStream, kEvent, kModule, kLibrary, kFunction, kKernel, kGraph, kGraphNode, "
        "kGraphExec, kMemPool, kMemAllocation, kArray, kMipmappedArray, kLink, kGreenContext,"
    )
    assert " ".join(re.sub(r"//[^\n]*", "", body[1]).split()).startswith(kinds)
