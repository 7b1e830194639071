"""Reads ``protocol/spec/*.toml`` into the model. Wrong types and unknown keys are errors here."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from vgpu.protocol.codegen.model import Attribute, Function, Param, Spec
from vgpu.protocol.errors import SpecError

_FUNCTION_KEYS: dict[str, type] = {
    "name": str,
    "opcode": int,
    "since": int,
    "alias": str,
    "class": str,
    "via": str,
    "stub": str,
    "executor": str,
    "soft": str,
    "order": str,
    "context": bool,
    "blocking": bool,
    "driver": bool,
    "required": bool,
    "per_thread": str,
    "doc": str,
    "params": list,
}
_PARAM_KEYS: dict[str, type] = {
    "name": str,
    "type": str,
    "dir": str,
    "handle": str,
    "create": bool,
    "destroy": bool,
    "length": str,
    "optional": bool,
}
_BODY_KEYS = ("class", "stub", "executor", "soft", "order")


def load(directory: Path) -> Spec:
    """Loads all areas and the opcode list of a specification directory."""
    functions: list[Function] = []
    attributes: list[Attribute] = []
    files = sorted(directory.glob("*.toml"))
    if not files:
        raise SpecError(str(directory), "", "no specification files (*.toml)")
    for path in files:
        data = _parse(path)
        area = data.get("area")
        if not isinstance(area, str) or not area:
            raise SpecError(path.name, "", 'needs area = "..."')
        unknown = data.keys() - {"area", "function", "attribute"}
        if unknown:
            raise SpecError(path.name, "", f"unknown key {sorted(unknown)[0]!r}")
        functions += [_function(path.name, area, entry) for entry in data.get("function", [])]
        attributes += [_attribute(path.name, entry) for entry in data.get("attribute", [])]
    functions.sort(key=lambda f: (f.opcode, f.name))
    return Spec(tuple(functions), tuple(attributes), _lock(directory / "opcodes.lock"))


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(path.name, "", f"not TOML: {error}") from error


def _checked(
    file: str, entry: str, table: dict[str, Any], keys: dict[str, type], need: tuple[str, ...]
) -> None:
    for key, value in table.items():
        if key not in keys:
            raise SpecError(file, entry, f"unknown key {key!r}")
        if type(value) is not keys[key]:
            raise SpecError(file, entry, f"{key} must be {keys[key].__name__}")
    for key in need:
        if key not in table:
            raise SpecError(file, entry, f"{key} is missing")


def _function(file: str, area: str, table: dict[str, Any]) -> Function:
    entry = table.get("name", "an entry without a name")
    entry = entry if isinstance(entry, str) else "an entry whose name is no text"
    need = ("name", "opcode", "since", "doc", "params")
    _checked(file, entry, table, _FUNCTION_KEYS, need)
    if "alias" in table:
        given = [key for key in _BODY_KEYS if key in table]
        if given:
            raise SpecError(file, entry, f"an alias takes {given[0]} from {table['alias']}")
    else:
        _checked(file, entry, table, _FUNCTION_KEYS, _BODY_KEYS)
    values = {k: v for k, v in table.items() if k not in ("class", "params")}
    if "class" in table:
        values["call_class"] = table["class"]
    params = tuple(_param(file, entry, p) for p in table["params"])
    return Function(area=area, file=file, params=params, **values)


def _param(file: str, entry: str, table: Any) -> Param:
    if not isinstance(table, dict):
        raise SpecError(file, entry, "a parameter must be a table")
    name = table.get("name")
    where = f"{entry}, parameter {name}" if isinstance(name, str) else f"{entry}, a parameter"
    _checked(file, where, table, _PARAM_KEYS, ("name", "type", "dir"))
    return Param(**table)


def _attribute(file: str, table: dict[str, Any]) -> Attribute:
    entry = str(table.get("name", "an attribute without a name"))
    keys = {"name": str, "value": int, "reason": str}
    _checked(file, entry, table, keys, tuple(keys))
    return Attribute(file=file, **table)


def _lock(path: Path) -> dict[int, str]:
    """The opcodes ever given out: lines of ``0xNNNN name``, ``#`` starts a comment."""
    lock: dict[int, str] = {}
    if not path.exists():
        return lock
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = line.partition("#")[0].split()
        if not text:
            continue
        try:
            opcode, name = int(text[0], 16), text[1]
        except (ValueError, IndexError) as error:
            raise SpecError(path.name, f"line {number}", "must read 0xNNNN name") from error
        if opcode in lock:
            raise SpecError(path.name, f"line {number}", f"0x{opcode:04x} is given out twice")
        lock[opcode] = name
    return lock
