"""Structures of the graph calls, and what nearly every graph test does with them."""

import ctypes
from collections.abc import Sequence
from typing import Any

from harness.driver import Driver

EMPTY, KERNEL, MEMCPY, MEMSET, HOST, CHILD = 5, 0, 1, 2, 3, 4
WAIT_EVENT, EVENT_RECORD, MEM_ALLOC, MEM_FREE, BATCH_MEM_OP, CONDITIONAL = 6, 7, 10, 11, 12, 13
IN_HOST, IN_DEVICE = 1, 2  # CUmemorytype
AUTO_FREE_ON_LAUNCH = 1

HostFunction = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class KernelParams(ctypes.Structure):
    """CUDA_KERNEL_NODE_PARAMS (second form)."""

    _fields_ = (
        ("func", ctypes.c_void_p),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("parameters", ctypes.POINTER(ctypes.c_void_p)),
        ("extra", ctypes.c_void_p),
        ("kern", ctypes.c_void_p),
        ("ctx", ctypes.c_void_p),
    )


class MemsetParams(ctypes.Structure):
    """CUDA_MEMSET_NODE_PARAMS; the second form has the context behind."""

    _fields_ = (
        ("dst", ctypes.c_uint64),
        ("pitch", ctypes.c_size_t),
        ("value", ctypes.c_uint),
        ("element", ctypes.c_uint),
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
        ("ctx", ctypes.c_void_p),
    )


class CopySide(ctypes.Structure):
    _fields_ = (
        ("x", ctypes.c_size_t),
        ("y", ctypes.c_size_t),
        ("z", ctypes.c_size_t),
        ("lod", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("host", ctypes.c_void_p),
        ("device", ctypes.c_uint64),
        ("array", ctypes.c_void_p),
        ("reserved", ctypes.c_void_p),
        ("pitch", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
    )


class CopyParams(ctypes.Structure):
    """CUDA_MEMCPY3D."""

    _fields_ = (
        ("src", CopySide),
        ("dst", CopySide),
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
        ("depth", ctypes.c_size_t),
    )


class HostParams(ctypes.Structure):
    _fields_ = (("fn", ctypes.c_void_p), ("user", ctypes.c_void_p))


class AllocParams(ctypes.Structure):
    """CUDA_MEM_ALLOC_NODE_PARAMS: CUmemPoolProps first."""

    _fields_ = (
        ("alloc_type", ctypes.c_int),
        ("handle_types", ctypes.c_int),
        ("location_type", ctypes.c_int),
        ("location_id", ctypes.c_int),
        ("security", ctypes.c_void_p),
        ("max_size", ctypes.c_size_t),
        ("usage", ctypes.c_ushort),
        ("reserved", ctypes.c_ubyte * 54),
        ("access", ctypes.c_void_p),
        ("access_count", ctypes.c_size_t),
        ("bytes", ctypes.c_size_t),
        ("dptr", ctypes.c_uint64),
    )


class BatchParams(ctypes.Structure):
    _fields_ = (
        ("ctx", ctypes.c_void_p),
        ("count", ctypes.c_uint),
        ("steps", ctypes.c_void_p),
        ("flags", ctypes.c_uint),
    )


class ValueStep(ctypes.Structure):
    """CUstreamBatchMemOpParams: write value (and wait value, whose fields lie alike)."""

    _fields_ = (
        ("operation", ctypes.c_int),
        ("address", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("flags", ctypes.c_uint),
        ("alias", ctypes.c_uint64),
        ("pad", ctypes.c_uint64),
    )


class ConditionalParams(ctypes.Structure):
    _fields_ = (
        ("handle", ctypes.c_uint64),
        ("type", ctypes.c_int),
        ("size", ctypes.c_uint),
        ("graphs", ctypes.POINTER(ctypes.c_void_p)),
        ("ctx", ctypes.c_void_p),
    )


class MemcpyNode(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_int),
        ("reserved", ctypes.c_int),
        ("ctx", ctypes.c_void_p),
        ("copy", CopyParams),
    )


class ChildNode(ctypes.Structure):
    _fields_ = (("graph", ctypes.c_void_p), ("ownership", ctypes.c_int))


class AnyNode(ctypes.Union):
    _fields_ = (
        ("padding", ctypes.c_longlong * 29),
        ("kernel", KernelParams),
        ("memcpy", MemcpyNode),
        ("memset", MemsetParams),
        ("host", HostParams),
        ("graph", ChildNode),
        ("event", ctypes.c_void_p),
        ("alloc", AllocParams),
        ("free", ctypes.c_uint64),
        ("values", BatchParams),
        ("conditional", ConditionalParams),
    )


class NodeParams(ctypes.Structure):
    """CUgraphNodeParams."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("reserved0", ctypes.c_int * 3),
        ("node", AnyNode),
        ("reserved2", ctypes.c_longlong),
    )


assert ctypes.sizeof(CopyParams) == 200
assert ctypes.sizeof(NodeParams) == 256


def kernel_params(
    function: int, grid: Sequence[int], block: Sequence[int], *arguments: Any
) -> KernelParams:
    """The result keeps the arguments alive."""
    pointers = (ctypes.c_void_p * max(1, len(arguments)))(*[ctypes.addressof(a) for a in arguments])
    params = KernelParams(function, (*grid,), (*block,), 0, pointers)
    params.keep = (pointers, arguments)
    return params


def memset_params(address: int, value: int, width: int, element: int = 1) -> MemsetParams:
    return MemsetParams(address, 0, value, element, width, 1)


def copy_params(destination: int, source: int, size: int, to: int = IN_DEVICE, of: int = IN_DEVICE):
    copy = CopyParams(width=size, height=1, depth=1)
    for side, kind, address in ((copy.dst, to, destination), (copy.src, of, source)):
        side.type = kind
        setattr(side, "host" if kind == IN_HOST else "device", address)
    return copy


def alloc_params(size: int, ordinal: int = 0) -> AllocParams:
    return AllocParams(alloc_type=1, location_type=1, location_id=ordinal, bytes=size)


class Graph:
    """A graph under construction: each method adds a node behind ``after`` and returns it."""

    def __init__(self, cuda: Driver, handle: int | None = None) -> None:
        self.cuda = cuda
        self.handle = handle or cuda.out("cuGraphCreate", ctypes.c_void_p, 0)

    def _add(self, name: str, after: Sequence[int], *rest: Any) -> int:
        nodes = (ctypes.c_void_p * max(1, len(after)))(*after)
        return self.cuda.out(name, ctypes.c_void_p, self.handle, nodes, len(after), *rest)

    def empty(self, *after: int) -> int:
        return self._add("cuGraphAddEmptyNode", after)

    def kernel(self, params: KernelParams, *after: int) -> int:
        return self._add("cuGraphAddKernelNode_v2", after, ctypes.byref(params))

    def memset(self, params: MemsetParams, *after: int) -> int:
        context = self.cuda.out("cuCtxGetCurrent", ctypes.c_void_p)
        return self._add("cuGraphAddMemsetNode", after, ctypes.byref(params), context)

    def copy(self, params: CopyParams, *after: int) -> int:
        context = self.cuda.out("cuCtxGetCurrent", ctypes.c_void_p)
        return self._add("cuGraphAddMemcpyNode", after, ctypes.byref(params), context)

    def host(self, function: Any, user: int, *after: int) -> int:
        params = HostParams(ctypes.cast(function, ctypes.c_void_p), user)
        return self._add("cuGraphAddHostNode", after, ctypes.byref(params))

    def child(self, graph: int, *after: int) -> int:
        return self._add("cuGraphAddChildGraphNode", after, graph)

    def alloc(self, params: AllocParams, *after: int) -> int:
        return self._add("cuGraphAddMemAllocNode", after, ctypes.byref(params))

    def free(self, address: int, *after: int) -> int:
        return self._add("cuGraphAddMemFreeNode", after, address)

    def node(self, kind: int, *after: int, **fields: Any) -> tuple[int, NodeParams]:
        """cuGraphAddNode_v2; the parameters too, for what it returns in them."""
        params = node_params(kind, **fields)
        nodes = (ctypes.c_void_p * max(1, len(after)))(*after)
        node = self.cuda.out(
            "cuGraphAddNode_v2",
            ctypes.c_void_p, self.handle, nodes, None, len(after), ctypes.byref(params),
        )  # fmt: skip
        return node, params

    def instantiate(self, flags: int = 0) -> int:
        return self.cuda.out("cuGraphInstantiateWithFlags", ctypes.c_void_p, self.handle, flags)

    def nodes(self) -> list[int]:
        return node_list(self.cuda, "cuGraphGetNodes", self.handle)


def node_params(kind: int, **fields: Any) -> NodeParams:
    params = NodeParams(type=kind)
    for name, value in fields.items():
        setattr(params.node, name, value)
    params.keep = fields
    return params


def node_list(cuda: Driver, name: str, handle: int) -> list[int]:
    count = ctypes.c_size_t()
    getattr(cuda, name)(handle, None, ctypes.byref(count))
    nodes = (ctypes.c_void_p * max(1, count.value))()
    getattr(cuda, name)(handle, nodes, ctypes.byref(count))
    return list(nodes[: count.value])


def node_type(cuda: Driver, node: int) -> int:
    return cuda.out_last("cuGraphNodeGetType", ctypes.c_int, node)


def run(cuda: Driver, executable: int, stream: int, times: int = 1) -> None:
    for _ in range(times):
        cuda.cuGraphLaunch(executable, stream)
    cuda.cuStreamSynchronize(stream)


def capture(cuda: Driver, stream: int, work: Any, mode: int = 2) -> Graph:
    cuda.cuStreamBeginCapture_v2(stream, mode)
    work()
    return Graph(cuda, ending_capture(cuda, stream))


def ending_capture(cuda: Driver, stream: int) -> int:
    return cuda.out_last("cuStreamEndCapture", ctypes.c_void_p, stream)
