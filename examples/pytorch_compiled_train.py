"""A small model trained under torch.compile, so that every kernel is compiled at run time.

Runs on any device, the software GPU with capability 11.0 included (Triton must know the
capability): the backward pass starts from a gradient copied from the CPU, Adam is a compiled
function whose state is copied from the CPU, and the options keep ATen fills and autotuning copies
out. Expect losses equal to those of the same training on the CPU, and "matches the CPU" at the end.

    vgpu run --soft-cc 11.0 -- python examples/pytorch_compiled_train.py
"""

import argparse

import torch

OPTIONS: dict[str, str | int | bool] = {
    "shape_padding": False,
    "triton.autotune_pointwise": False,
    "deterministic": True,
    "joint_graph_constant_folding": False,
    "test_configs.force_filter_reduction_configs": True,
}
SHAPES = ((16, 32), (32,), (32, 8), (8,))


def loss_of(parameters: list[torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    w1, b1, w2, b2 = parameters
    hidden = torch.relu(x @ w1 + b1)
    return ((hidden @ w2 + b2 - y) ** 2).mean()


def adam(
    parameters: list[torch.Tensor],
    gradients: list[torch.Tensor],
    first: list[torch.Tensor],
    second: list[torch.Tensor],
    step: torch.Tensor,
) -> None:
    """One Adam update in place; step is a tensor of one element, counted from 1."""
    for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
        m.mul_(0.9).add_(g, alpha=0.1)
        v.mul_(0.99).addcmul_(g, g, value=0.01)
        m_hat = m / (1 - 0.9**step)
        v_hat = v / (1 - 0.99**step)
        p.sub_(0.02 * m_hat / (v_hat.sqrt() + 1e-8))


def train(device: str, steps: int, compiled: bool) -> list[float]:
    generator = torch.Generator().manual_seed(11)

    def on_device(cpu: torch.Tensor) -> torch.Tensor:
        return cpu.to(device)

    parameters = [on_device(0.3 * torch.randn(s, generator=generator)) for s in SHAPES]
    first = [on_device(torch.zeros(s)) for s in SHAPES]
    second = [on_device(torch.zeros(s)) for s in SHAPES]
    x = torch.randn(64, 16, generator=generator)
    y = torch.sin(x @ torch.randn(16, 8, generator=generator))
    x, y = on_device(x), on_device(y)
    forward = torch.compile(loss_of, options=OPTIONS) if compiled else loss_of
    update = torch.compile(adam, options=OPTIONS) if compiled else adam
    seed = on_device(torch.ones(()))
    losses = []
    for step in range(1, steps + 1):
        for p in parameters:
            p.requires_grad_(True)
            p.grad = None
        loss = forward(parameters, x, y)
        loss.backward(seed)
        gradients = [p.grad for p in parameters]
        with torch.no_grad():
            detached = [p.detach() for p in parameters]
            update(detached, gradients, first, second, on_device(torch.tensor([float(step)])))
        losses.append(loss.item())
        print(f"{device} step {step:3d}  loss {losses[-1]:.6f}", flush=True)
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5)
    steps = parser.parse_args().steps
    reference = train("cpu", steps, compiled=False)
    losses = train("cuda", steps, compiled=True)
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(reference), rtol=2e-3, atol=2e-4)
    assert losses[-1] < losses[0], losses
    print("matches the CPU")


if __name__ == "__main__":
    main()
