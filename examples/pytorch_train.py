"""A plain eager training script: convolution and linear layers, Adam, the loss printed.

Needs a real GPU: PyTorch ships its ATen kernels as machine code only. Expect a falling loss and, as
the last line, "trained N steps".

    vgpu run --worker tcp://gpu-host:7400 -- python examples/pytorch_train.py
"""

import argparse

import torch
from torch import nn


def batch(size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of shape (size, 1, 16, 16) whose class is the brightest of four quadrants."""
    images = torch.rand(size, 1, 16, 16, generator=generator)
    labels = torch.randint(0, 4, (size,), generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[0, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] += 1.0
    return images, labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()

    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    device = torch.device("cuda")
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 32),
        nn.ReLU(),
        nn.Linear(32, 4),
    ).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(arguments.steps):
        images, labels = batch(arguments.batch_size, generator)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        if step % 10 == 0 or step == arguments.steps - 1:
            print(f"step {step:4d}  loss {loss.item():.4f}", flush=True)
    torch.cuda.synchronize()
    print(f"trained {arguments.steps} steps")


if __name__ == "__main__":
    main()
