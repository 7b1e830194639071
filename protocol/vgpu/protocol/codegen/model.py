"""The specification as frozen objects."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Handle kinds of native/wire/handle.h by their name in the spec, and ``device``, which is an
#: ordinal and no handle. Values: (enumerator of wire::HandleKind, C type).
HANDLES: dict[str, tuple[str, str]] = {
    "context": ("kContext", "CUcontext"),
    "stream": ("kStream", "CUstream"),
    "event": ("kEvent", "CUevent"),
    "module": ("kModule", "CUmodule"),
    "library": ("kLibrary", "CUlibrary"),
    "function": ("kFunction", "CUfunction"),
    "kernel": ("kKernel", "CUkernel"),
    "graph": ("kGraph", "CUgraph"),
    "graph_node": ("kGraphNode", "CUgraphNode"),
    "graph_exec": ("kGraphExec", "CUgraphExec"),
    "mem_pool": ("kMemPool", "CUmemoryPool"),
    "mem_allocation": ("kMemAllocation", "CUmemGenericAllocationHandle"),
    "array": ("kArray", "CUarray"),
    "mipmapped_array": ("kMipmappedArray", "CUmipmappedArray"),
    "link": ("kLink", "CUlinkState"),
    "green_context": ("kGreenContext", "CUgreenCtx"),
    "user_object": ("kUserObject", "CUuserObject"),
    "device": ("", "CUdevice"),
}

#: Scalars that travel as themselves, as 64 bits, and as 32 bits. Everything else that is not a
#: pointer or a handle is taken for an enumeration, which travels as uint32_t.
PLAIN_SCALARS = {
    "int": "int32_t",
    "unsigned": "uint32_t",
    "unsigned int": "uint32_t",
    "unsigned short": "uint16_t",
    "unsigned char": "uint8_t",
    "float": "float",
    "cuuint32_t": "uint32_t",
    "cuuint64_t": "uint64_t",
    "unsigned long long": "uint64_t",
    "size_t": "uint64_t",
    "CUdeviceptr": "uint64_t",
}


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a C signature, and what crosses the wire for it."""

    name: str
    type: str
    dir: str
    handle: str = ""
    create: bool = False
    destroy: bool = False
    length: str = ""
    optional: bool = False

    @property
    def pointer(self) -> bool:
        return self.type.endswith("*")

    @property
    def pointee(self) -> str:
        """The type behind one level of pointer, without const."""
        return self.type.removesuffix("*").removeprefix("const ").strip()

    @property
    def wire_type(self) -> str:
        """The C++ type that travels for this value or pointee; empty when it cannot."""
        base = self.pointee if self.pointer else self.type
        if self.handle == "device":
            return "uint32_t"
        if self.handle:
            return "uint64_t"
        if base in PLAIN_SCALARS:
            return PLAIN_SCALARS[base]
        return "" if base.endswith("*") or base == "void" else "uint32_t"


@dataclass(frozen=True, slots=True)
class Function:
    """One exported ABI name."""

    name: str
    area: str
    file: str
    opcode: int
    since: int
    doc: str
    params: tuple[Param, ...]
    alias: str = ""
    call_class: str = "local"
    via: str = ""
    stub: str = "manual"
    executor: str = "none"
    soft: str = "manual"
    order: str = "none"
    context: bool | None = None
    blocking: bool = False
    driver: bool = False
    required: bool = False
    per_thread: str = ""

    @property
    def symbol(self) -> str:
        """What cuGetProcAddress calls it: the name without its ABI version."""
        head, mark, tail = self.name.rpartition("_v")
        return head if mark and tail.isdigit() else self.name

    @property
    def abi_version(self) -> int:
        _, mark, tail = self.name.rpartition("_v")
        return int(tail) if mark and tail.isdigit() else 1

    @property
    def needs_context(self) -> bool:
        """Whether the calling thread must have a current context; ordered work always does."""
        return self.order != "none" if self.context is None else self.context

    @property
    def in_driver_table(self) -> bool:
        return not self.alias and (self.executor != "none" or self.driver or self.required)


@dataclass(frozen=True, slots=True)
class Attribute:
    """A device attribute that the client answers by itself, and why."""

    name: str
    file: str
    value: int
    reason: str


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything in ``protocol/spec``, in the order of the opcodes."""

    functions: tuple[Function, ...]
    attributes: tuple[Attribute, ...] = ()
    lock: dict[int, str] = field(default_factory=dict)

    def function(self, name: str) -> Function | None:
        return next((f for f in self.functions if f.name == name), None)

    def resolve(self, function: Function) -> Function:
        """The entry whose body serves `function`: itself, or what it is an alias of."""
        target = self.function(function.alias) if function.alias else None
        return target or function

    @property
    def wire_calls(self) -> tuple[Function, ...]:
        return tuple(f for f in self.functions if not f.alias and f.executor != "none")
