"""PyTorch without an ATen kernel: what runs on any device, the software GPU included.

Discovery, properties, copies of several dtypes, pinned memory, streams, events, matrix products.
Expect one line per check, each ending in "ok", and "all checks passed" at the end.

    vgpu run -- python examples/pytorch_basics.py
"""

import torch

DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
    torch.complex64,
)


def check(name: str, passed: bool) -> None:
    if not passed:
        raise SystemExit(f"{name}: wrong result")
    print(f"{name:<28} ok")


def sample(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(shape, dtype=torch.complex64 if dtype.is_complex else None).to(dtype)
    return torch.randint(0, 2 if dtype == torch.bool else 100, shape).to(dtype)


def main() -> None:
    torch.manual_seed(3)
    check("device found", torch.cuda.is_available() and torch.cuda.device_count() >= 1)
    properties = torch.cuda.get_device_properties(0)
    print(f"device: {properties.name}, {properties.total_memory >> 20} MiB")

    for dtype in DTYPES:
        source = sample((97, 33), dtype)
        check(f"copy {dtype}", torch.equal(source.to("cuda").cpu(), source))

    pinned = torch.arange(100_000, dtype=torch.float32).pin_memory()
    back = torch.empty(100_000).pin_memory()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        there = pinned.to("cuda", non_blocking=True)
        back.copy_(there, non_blocking=True)
        done = torch.cuda.Event()
        done.record()
    done.synchronize()
    check("pinned, asynchronous", torch.equal(back, pinned))

    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    a, b = torch.randn(64, 96), torch.randn(96, 48)
    ga, gb = a.cuda(), b.cuda()
    begin.record()
    product = ga @ gb
    end.record()
    torch.cuda.synchronize()
    check("event time", begin.elapsed_time(end) >= 0.0)
    check("matmul float32", torch.allclose(product.cpu(), a @ b, rtol=1e-4, atol=1e-4))
    a64, b64 = a.double(), b.double()
    check("matmul float64", torch.allclose((a64.cuda() @ b64.cuda()).cpu(), a64 @ b64))
    free, total = torch.cuda.mem_get_info()
    check("memory information", 0 < free <= total)
    print("all checks passed")


if __name__ == "__main__":
    main()
