"""Triton: vector addition, fused softmax, blocked matmul and layer norm, compared with the CPU."""

import torch
import triton
import triton.language as tl


@triton.jit
def add_kernel(x, y, out, count, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    total = tl.load(x + at, mask=inside) + tl.load(y + at, mask=inside)
    tl.store(out + at, total, mask=inside)


@triton.jit
def softmax_kernel(x, out, columns, stride, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    row = tl.program_id(0) * stride
    values = tl.load(x + row + at, mask=at < columns, other=-float("inf"))
    raised = tl.exp(values - tl.max(values, axis=0))
    tl.store(out + row + at, raised / tl.sum(raised, axis=0), mask=at < columns)


@triton.jit
def matmul_kernel(
    a, b, out, rows, columns, inner,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    # Programs of a group of rows run next to each other, so that they share the columns' tiles.
    program, wide = tl.program_id(0), tl.cdiv(columns, N)
    group = program // (GROUP * wide)
    height = min(tl.cdiv(rows, M) - group * GROUP, GROUP)
    tile_row = group * GROUP + program % (GROUP * wide) % height
    tile_column = program % (GROUP * wide) // height
    i = tile_row * M + tl.arange(0, M)
    j = tile_column * N + tl.arange(0, N)
    k = tl.arange(0, K)
    total = tl.zeros((M, N), dtype=tl.float32)
    for step in range(0, inner, K):
        left = tl.load(
            a + i[:, None] * inner + (step + k)[None, :],
            mask=(i[:, None] < rows) & ((step + k)[None, :] < inner), other=0.0,
        )  # fmt: skip
        right = tl.load(
            b + (step + k)[:, None] * columns + j[None, :],
            mask=((step + k)[:, None] < inner) & (j[None, :] < columns), other=0.0,
        )  # fmt: skip
        total = tl.dot(left, right, total)
    tl.store(
        out + i[:, None] * columns + j[None, :], total.to(out.dtype.element_ty),
        mask=(i[:, None] < rows) & (j[None, :] < columns),
    )  # fmt: skip


@triton.jit
def norm_forward(x, out, weight, bias, means, scales, columns, epsilon, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    inside = at < columns
    values = tl.load(x + row * columns + at, mask=inside, other=0.0)
    mean = tl.sum(values, axis=0) / columns
    centred = tl.where(inside, values - mean, 0.0)
    scale = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / columns + epsilon)
    tl.store(means + row, mean)
    tl.store(scales + row, scale)
    w = tl.load(weight + at, mask=inside)
    b = tl.load(bias + at, mask=inside)
    tl.store(out + row * columns + at, centred * scale * w + b, mask=inside)


@triton.jit
def norm_backward(
    grad, x, weight, means, scales, grad_x, grad_weight, grad_bias, columns, BLOCK: tl.constexpr
):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    inside = at < columns
    g = tl.load(grad + row * columns + at, mask=inside, other=0.0)
    w = tl.load(weight + at, mask=inside, other=0.0)
    values = tl.load(x + row * columns + at, mask=inside, other=0.0)
    scale = tl.load(scales + row)
    normed = tl.where(inside, (values - tl.load(means + row)) * scale, 0.0)
    weighted = w * g
    along = tl.sum(normed * weighted, axis=0) / columns
    mean = tl.sum(weighted, axis=0) / columns
    tl.store(grad_x + row * columns + at, (weighted - normed * along - mean) * scale, mask=inside)
    tl.atomic_add(grad_weight + at, g * normed, mask=inside)
    tl.atomic_add(grad_bias + at, g, mask=inside)


def gpu(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to("cuda")


def check(name: str, actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(actual.cpu().float(), expected, rtol=tolerance, atol=tolerance)
    print(f"{name}: equal")


def main() -> None:
    torch.manual_seed(3)

    x, y = torch.randn(98_432), torch.randn(98_432)
    out = torch.empty(98_432, device="cuda")
    add_kernel[(triton.cdiv(98_432, 1024),)](gpu(x), gpu(y), out, 98_432, BLOCK=1024)
    check("vector addition", out, x + y, 0)

    x = torch.randn(37, 781)
    out = torch.empty(37, 781, device="cuda")
    softmax_kernel[(37,)](gpu(x), out, 781, 781, BLOCK=1024)
    check("softmax", out, torch.softmax(x, 1), 1e-6)

    for dtype, tolerance in ((torch.float16, 2e-3), (torch.bfloat16, 2e-2), (torch.float32, 1e-2)):
        a, b = torch.randn(100, 150, dtype=dtype), torch.randn(150, 90, dtype=dtype)
        out = torch.empty(100, 90, dtype=dtype, device="cuda")
        grid = (triton.cdiv(100, 32) * triton.cdiv(90, 32),)
        matmul_kernel[grid](gpu(a), gpu(b), out, 100, 90, 150, M=32, N=32, K=32, GROUP=2)
        check(f"matmul {dtype}", out, (a.float() @ b.float()).to(dtype).float(), tolerance)

    x = (torch.randn(29, 200) * 2 - 0.5).requires_grad_()
    weight, bias = torch.rand(200, requires_grad=True), torch.rand(200, requires_grad=True)
    expected = torch.nn.functional.layer_norm(x, (200,), weight, bias, 1e-5)
    out = torch.empty(29, 200, device="cuda")
    means, scales = torch.empty(29, device="cuda"), torch.empty(29, device="cuda")
    on_gpu = [gpu(t.detach()) for t in (x, weight, bias)]
    norm_forward[(29,)](on_gpu[0], out, on_gpu[1], on_gpu[2], means, scales, 200, 1e-5, BLOCK=256)
    check("layer norm", out, expected.detach(), 1e-5)

    grad = torch.randn(29, 200)
    expected.backward(grad)
    grad_x = torch.empty(29, 200, device="cuda")
    grad_weight, grad_bias = gpu(torch.zeros(200)), gpu(torch.zeros(200))
    norm_backward[(29,)](
        gpu(grad), on_gpu[0], on_gpu[1], means, scales, grad_x, grad_weight, grad_bias, 200,
        BLOCK=256,
    )  # fmt: skip
    for name, actual, leaf in (("x", grad_x, x), ("weight", grad_weight, weight),
                               ("bias", grad_bias, bias)):  # fmt: skip
        assert leaf.grad is not None
        check(f"layer norm, gradient of {name}", actual, leaf.grad, 1e-4)
    print("fine")


if __name__ == "__main__":
    main()
