"""docs/configuration.md names every setting, option and variable."""

from pathlib import Path

import click
import pytest

from vgpu.client.cli import main
from vgpu.worker.cli import worker
from vgpu.worker.settings import SETTINGS

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_has_a_row(setting: object) -> None:
    name, profile = getattr(setting, "name", ""), getattr(setting, "profile", None)
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}`"))
    if profile is not None:
        assert f"`{profile}`" in row


@pytest.mark.parametrize("command", [worker, main.commands["run"]], ids=["worker", "run"])
def test_every_option_and_variable_is_named(command: click.Command) -> None:
    settings = {setting.field for setting in SETTINGS}
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden and option.name not in settings:
            assert option.opts[0] in PAGE
            if isinstance(option.envvar, str):
                assert f"`{option.envvar}`" in PAGE
