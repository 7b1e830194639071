"""The coverage page: what is served where."""

from __future__ import annotations

from vgpu.protocol.codegen.model import Function, Spec

_HEAD = """\
# Coverage of the CUDA driver API

Generated from `protocol/spec`. *local*: answered in the client; *async*: appended to the command
stream, returns at once; *sync*: waits for the worker; *as* another call: the client turns it into
that one. Functions that are not supported are exported and answer `CUDA_ERROR_NOT_SUPPORTED` with
one log line. Each function also exists in its per-thread-default-stream spelling if CUDA has one.
"""


def emit(spec: Spec) -> str:
    """A Markdown page with a summary and one table per area."""
    served = [f for f in spec.functions if spec.resolve(f).stub != "unsupported"]
    soft = [f for f in spec.functions if spec.resolve(f).soft != "unsupported"]
    lines = [
        _HEAD,
        f"{len(spec.functions)} functions: {len(served)} served through the stub, "
        f"{len(soft)} by the software GPU.",
    ]
    areas = list(dict.fromkeys(f.area for f in spec.functions))
    for area in areas:
        lines += ["", f"## {area.capitalize()}", ""]
        lines.append("| function | class | stub | software GPU | note |")
        lines.append("|---|---|---|---|---|")
        lines += [_row(spec, f) for f in spec.functions if f.area == area]
    lines += ["", "## Device attributes that the client answers by itself", ""]
    lines += ["| attribute | value | reason |", "|---|---|---|"]
    lines += [f"| `{a.name}` | {a.value} | {a.reason} |" for a in spec.attributes]
    return "\n".join(lines) + "\n"


def _row(spec: Spec, f: Function) -> str:
    body = spec.resolve(f)
    supported = body.stub != "unsupported"
    stub = "yes" if supported else "no"
    soft = "yes" if body.soft != "unsupported" else "no"
    call_class = f"as `{body.via}`" if body.via else body.call_class
    call_class = call_class if supported else "-"
    return f"| `{f.name}` | {call_class} | {stub} | {soft} | {f.doc} |"
