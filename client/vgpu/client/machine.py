"""What this machine has: NVIDIA device nodes decide which driver a private worker uses."""

from __future__ import annotations

from pathlib import Path

# Character devices of the kernel driver, of WSL's, and of Tegra boards.
_DEVICE_NODES = ("nvidiactl", "nvidia[0-9]*", "dxg", "nvhost-gpu", "nvgpu")


def device_nodes(root: Path = Path("/dev")) -> list[Path]:
    """The NVIDIA device nodes of this machine; none means that it has no NVIDIA GPU to use."""
    return sorted(path for pattern in _DEVICE_NODES for path in root.glob(pattern))
