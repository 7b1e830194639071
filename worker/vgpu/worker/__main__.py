"""`python -m vgpu.worker` is `vgpu worker`."""

from vgpu.worker.cli import worker

worker(prog_name="vgpu worker")
