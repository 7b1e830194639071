"""`python -m vgpu.client` is `vgpu`."""

from vgpu.client.cli import main

main(prog_name="vgpu")
