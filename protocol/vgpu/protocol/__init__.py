"""The contract between client, worker and executor: versions, control messages, and the generator.

The package's root imports nothing beyond the standard library, so that the build can run
``vgpu.protocol.codegen`` before anything is installed.
"""
