"""The command line of `vgpu worker`: what is refused before anything starts."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vgpu.worker.cli import keys, worker
from vgpu.worker.settings import SETTINGS


def invoke(*arguments: str, **environment: str) -> Result:
    empty = {f"VGPU_{name}": None for name in ("DRIVER", "BIND", "LOG", "SOFT_CC", "NATIVE_DIR")}
    return CliRunner().invoke(worker, arguments, env={**empty, **environment})


def test_every_setting_is_an_option_with_its_variable() -> None:
    options = {option.name: option for option in worker.params}
    for setting in SETTINGS:
        if setting.annotation:
            option = options[setting.field]
            assert option.opts == [f"--{setting.name}"]
            assert option.envvar == setting.variable


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--bind", "tcp://0.0.0.0:7400"], 2, "--insecure"),
        (["--bind", "tcp://*:7400"], 2, "vgpu keys"),
        (["--bind", "nowhere"], 2, "expected tcp://HOST:PORT"),
        (["--vram-limit", "lots"], 2, "vram-limit: 'lots' is not a Kubernetes quantity"),
        (["--tflops-limit", "10"], 2, "tflops-limit: this worker has no compute limiter yet"),
        (["--is-local-gpu", "true"], 2, "is-local-gpu: only remote workers"),
        (["--no-such-option"], 2, "No such option"),
        (["--warm-pool", "-1"], 2, "warm-pool"),
        (["--keys", "/no/such/file"], 1, "cannot read the key file /no/such/file"),
        (["--annotations", "/no/such/file"], 2, "/no/such/file"),
        (["--profile", "/no/such/file"], 2, "/no/such/file"),
    ],
)
def test_refusals(arguments: list[str], status: int, message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == status
    assert message in result.output


def test_variables_are_flags() -> None:
    result = invoke(VGPU_COMPUTE_PERCENT_LIMIT="50")
    assert result.exit_code == 2
    assert "compute-percent-limit" in result.output
    assert "tcp://0.0.0.0:1 can be reached" in invoke(VGPU_BIND="tcp://0.0.0.0:1").output


def test_keys_command(tmp_path: Path) -> None:
    runner = CliRunner()
    made = runner.invoke(keys, [str(tmp_path / "k")])
    assert made.output.split() == [str(tmp_path / "k" / f"{n}.key") for n in ("server", "client")]
    again = runner.invoke(keys, [str(tmp_path / "k")])
    assert again.exit_code == 1
    assert "never overwritten" in again.output
    added = runner.invoke(keys, [str(tmp_path / "k"), "--add", "laptop"])
    assert added.output.split() == [str(tmp_path / "k" / "laptop.key")]
