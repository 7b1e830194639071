"""The table at the end: VGPU_SOFT_SUMMARY, and what VGPU_SOFT_SKIP_SASS did not execute."""

import ctypes

import pytest

from harness import clients, kernels, workers
from harness import driver as d
from softgpu import child
from softgpu.images import cubin, fatbin

U32, U64 = ctypes.c_uint32, ctypes.c_uint64


def work(cuda):
    cuda.start()
    module = cuda.module(kernels.ALL)
    out = U64(cuda.alloc(4096))
    for _ in range(2):
        arguments = (out, U32(7), U32(64))
        assert cuda.launch(cuda.function(module, "fill"), (2, 1, 1), (32, 1, 1), *arguments) == 0
    burn = cuda.function(module, "burn")
    assert cuda.launch(burn, (1, 1, 1), (1, 1, 1), out, U32(1000)) == 0
    cuda.cuCtxSynchronize()


def rows(text):
    """kernel -> launches, skipped, blocks, instructions, lane operations of a table."""
    found = {}
    for line in text.splitlines():
        words = line.rpartition("vgpu softgpu: ")[2].split()
        if len(words) >= 7 and words[0].isdigit():
            found[words[6]] = tuple(int(word) for word in words[:5])
    return found


def test_a_table_of_all_kernels():
    outcome = child.run(work, VGPU_SOFT_SUMMARY="1")
    table = rows(outcome.errors)
    assert set(table) == {"fill", "burn"}
    launches, skipped, blocks, instructions, lanes = table["fill"]
    assert (launches, skipped, blocks) == (2, 0, 4)
    assert lanes == 32 * instructions
    assert table["burn"][:3] == (1, 0, 1)
    assert 3000 <= table["burn"][3] == table["burn"][4] <= 3020  # three instructions a round
    assert "kernels 2, launches executed 3, NOT executed 0" in outcome.errors


def test_no_table_unless_asked_for():
    assert "launches" not in child.run(work).errors
    assert "launches" not in child.run(work, VGPU_SOFT_SUMMARY="0").errors


def test_tables_are_appended_to_a_file(tmp_path):
    path = tmp_path / "summary.txt"
    for _ in range(2):
        child.run(work, VGPU_SOFT_SUMMARY=str(path))
    text = path.read_text()
    assert text.count("process ") == 2
    assert rows(text)["fill"][0] == 2


def test_through_the_stub_it_stands_in_the_workers_log():
    body = """
from harness import kernels
cuda.start()
fill = cuda.function(cuda.module(kernels.ALL), "fill")
arguments = ctypes.c_uint64(cuda.alloc(4096)), ctypes.c_uint32(1), ctypes.c_uint32(32)
for _ in range(3):
    cuda.launch(fill, (1, 1, 1), (32, 1, 1), *arguments)
cuda.cuCtxSynchronize()
"""
    with workers.worker(environment={"VGPU_SOFT_SUMMARY": "1"}) as running:
        assert clients.run(running.address, body) == ""
        running.stop()
        table = rows(running.log_text())
    assert table["fill"][:3] == (3, 0, 3)


def test_skipped_launches_are_counted_by_name():
    outcome = child.run(work, VGPU_SOFT_SKIP_SASS="1")
    table = rows(outcome.errors)
    assert table == {"fill": (0, 2, 0, 0, 0), "burn": (0, 1, 0, 0, 0)}
    assert "NO kernel is executed" in outcome.errors
    assert "launches executed 0, NOT executed 3" in outcome.errors


@pytest.mark.parametrize("wrap", [bytes, fatbin])
def test_code_of_another_machine_is_counted_by_name_when_asked(wrap):
    image = ctypes.create_string_buffer(wrap(cubin(b"alpha", b"beta")))

    def skipping(cuda):
        cuda.start()
        module = cuda.out("cuModuleLoadData", ctypes.c_void_p, image)
        for name in ("alpha", "beta", "alpha"):
            assert cuda.launch(cuda.function(module, name), (1, 1, 1), (1, 1, 1)) == 0
        cuda.cuCtxSynchronize()

    def otherwise(cuda):
        cuda.start()
        module = ctypes.c_void_p()
        code = cuda.code("cuModuleLoadData", ctypes.byref(module), image)
        assert code == d.NO_BINARY_FOR_GPU

    table = rows(child.run(skipping, VGPU_SOFT_SKIP_SASS="1").errors)
    assert table == {"alpha": (0, 2, 0, 0, 0), "beta": (0, 1, 0, 0, 0)}
    assert "alpha, beta" in child.run(otherwise).errors
