"""VGPU_SOFT_CONFIG: a file that says what the variables say, strictly read."""

import ctypes
import re

import pytest

from harness import clients, native, workers
from harness import driver as d
from softgpu import child

DEVICES = """
# Two different devices.
threads = 2
memory = "96Mi"           # of each that says nothing else
name = "common # name"

[[devices]]
cc = "11.0"
sms = 7

[[devices]]
name = 'second'
memory = 1_073_741_824
cc = 12.1
"""


def read(cuda, ordinal):
    name = ctypes.create_string_buffer(64)
    cuda.cuDeviceGetName(name, 64, ordinal)

    def attribute(number):
        return cuda.out("cuDeviceGetAttribute", ctypes.c_int, number, ordinal)

    memory = cuda.out("cuDeviceTotalMem_v2", ctypes.c_size_t, ordinal)
    return name.value.decode(), memory, (attribute(75), attribute(76)), attribute(16)


def configured(tmp_path, text, body, **environment):
    path = tmp_path / "soft.toml"
    path.write_text(text)
    return child.run(body, VGPU_SOFT_CONFIG=str(path), **environment)


def test_devices_of_several_kinds(tmp_path):
    def body(cuda):
        cuda.cuInit(0)
        assert cuda.out("cuDeviceGetCount", ctypes.c_int) == 2
        assert read(cuda, 0) == ("common # name", 96 << 20, (11, 0), 7)
        assert read(cuda, 1) == ("second", 1 << 30, (12, 1), 4)

    configured(tmp_path, DEVICES, body)


def test_a_number_of_equal_devices(tmp_path):
    def body(cuda):
        cuda.cuInit(0)
        assert cuda.out("cuDeviceGetCount", ctypes.c_int) == 3
        assert [read(cuda, i)[3] for i in range(3)] == [9, 9, 9]

    configured(tmp_path, "devices = 3\nsms = 9\n", body)


def test_a_variable_goes_before_the_file(tmp_path):
    def body(cuda):
        cuda.cuInit(0)
        assert cuda.out("cuDeviceGetCount", ctypes.c_int) == 3
        expected = [("common # name", 64 << 20, (13, 0), 7)] * 3
        expected[1] = ("second", 64 << 20, (13, 0), 4)
        assert [read(cuda, i) for i in range(3)] == expected

    environment = {"VGPU_SOFT_DEVICES": "3", "VGPU_SOFT_MEMORY": "64Mi", "VGPU_SOFT_CC": "13.0"}
    configured(tmp_path, DEVICES, body, **environment)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("devices = 65", 1, "devices = 65 is not allowed: use 0 to 64"),
        ('devices = "2"', 1, "devices has a value of the wrong kind: use an integer"),
        ("\nmemory = '4 GB'", 2, "memory = 4 GB is not allowed: use a quantity"),
        ("deterministic = 1", 1, "deterministic has a value of the wrong kind: use true or false"),
        ("colour = 1", 1, "unknown key 'colour': there are devices, memory, name, cc, sms"),
        ("[[devices]]\nthreads = 1", 2, "unknown key 'threads': there are memory, name, cc, sms"),
        ("devices = 1\n[[devices]]\n", 2, "either `devices = N` or [[devices]], not both"),
        ("[device]\n", 1, "the only table is [[devices]], not 'device'"),
        ("check = ['races', 'leaks']", 1, "check = races,leaks is not allowed: use uninitialised"),
        ("sms = 4\nsms = 4", 2, "'sms' was set before, in line 1"),
        ("name = soft", 1, "'soft' is no value: texts stand in quotes"),
        ("name = 'soft", 1, "a string without its end"),
        ('name = "\\u0041"', 1, "an escape that is not supported"),
        ("name = '''a'''", 1, "multi-line strings are not supported"),
        ("a.b = 1", 1, "dotted names are not supported"),
        ("name = {}", 1, "inline tables are not supported"),
        ("sms = 4 5", 1, "expected the end of the line, not '5'"),
        ("sms = 04", 1, "'04' is no value"),
        ("sms = 1__0", 1, "'1__0' is no value"),
        ("sms", 1, "expected '=' after 'sms'"),
        ("check = [[[[[[1]]]]]]", 1, "arrays in too many arrays"),
        ("check = ['races'", 1, "expected ',' or ']' in an array"),
        ("= 4", 1, "'=' begins no name"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, text, line, message):
    def body(cuda):
        assert cuda.code("cuInit", 0) == d.INVALID_VALUE

    errors = configured(tmp_path, text, body).errors
    assert f"{tmp_path}/soft.toml:{line}: {message}" in errors


def test_a_missing_file_is_named(tmp_path):
    def body(cuda):
        assert cuda.code("cuInit", 0) == d.INVALID_VALUE

    errors = child.run(body, VGPU_SOFT_CONFIG=str(tmp_path / "none.toml")).errors
    assert f"VGPU_SOFT_CONFIG={tmp_path}/none.toml cannot be read: No such file" in errors


def test_it_reaches_the_executors_of_a_worker(tmp_path):
    path = tmp_path / "soft.toml"
    path.write_text("devices = 2\nname = 'from the file'\n")
    body = """
cuda.cuInit(0)
name = ctypes.create_string_buffer(64)
cuda.cuDeviceGetName(name, 64, 1)
print(name.value.decode())
"""
    with workers.worker("--gpu-count", "2", environment={"VGPU_SOFT_CONFIG": str(path)}) as running:
        assert clients.run(running.address, body) == "from the file"


def test_the_documentation_lists_every_setting():
    source = (native.REPOSITORY / "native/softgpu/driver/config.cc").read_text()
    table = source[source.index("constexpr Setting kSettings[]") :]
    keys = re.findall(r'^    \{"(\w+)", k', table, re.MULTILINE)
    assert len(keys) > 10
    documented = (native.REPOSITORY / "docs/softgpu.md").read_text()
    rows = re.findall(r"^\| `VGPU_SOFT_(\w+)` \| `(\w+)`", documented, re.MULTILINE)
    assert sorted(rows) == sorted((key.upper(), key) for key in keys)
