"""``python -m vgpu.protocol.codegen``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vgpu.protocol.codegen import (
    attributes,
    check,
    coverage,
    cpp,
    driver_table,
    executor_dispatch,
    exports,
    load,
    opcodes,
    stub_marshal,
    symbols,
    write,
)
from vgpu.protocol.codegen.model import Spec
from vgpu.protocol.errors import SpecError


def artifacts(spec: Spec, macros: list[str]) -> dict[str, str]:
    """All generated files by name."""
    files = {
        "device_attributes.h": attributes.emit(spec),
        "opcode.h": opcodes.emit(spec, macros),
        "driver_table.h": driver_table.header(spec),
        "driver_table.cc": driver_table.source(spec),
        "executor_api.h": executor_dispatch.header(spec),
        "executor_dispatch.cc": executor_dispatch.source(spec),
        "stub_marshal.cc": stub_marshal.emit(spec),
    }
    for side in exports.SIDES:
        files[f"{side.namespace}_api.h"] = exports.api(spec, side)
        files[f"{side.namespace}_exports.cc"] = exports.exports(spec, side)
        files[f"{side.namespace}_symbols.cc"] = symbols.emit(spec, side)
    return files


def main(arguments: list[str] | None = None) -> int:
    """Loads, checks, and writes what was asked for. 1 after a mistake in the specification."""
    parser = argparse.ArgumentParser(prog="vgpu.protocol.codegen", description=__doc__)
    parser.add_argument("--spec", type=Path, required=True, help="directory of the specification")
    parser.add_argument("--cuda-include", type=Path, help="directory of cuda.h")
    parser.add_argument("--output", type=Path, help="directory for the generated C++")
    parser.add_argument("--coverage", type=Path, metavar="FILE", help="write the coverage page")
    options = parser.parse_args(arguments)
    if options.output and not options.cuda_include:
        parser.error("--output needs --cuda-include")
    try:
        spec = load.load(options.spec)
        check.check(spec)
    except SpecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.output:
        macros = cpp.versioned_macros(options.cuda_include)
        for name, text in artifacts(spec, macros).items():
            write.write(options.output / name, text)
    if options.coverage:
        write.write(options.coverage, coverage.emit(spec))
    return 0


if __name__ == "__main__":
    sys.exit(main())
