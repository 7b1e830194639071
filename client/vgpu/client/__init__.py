"""The client: runs programs on the GPU of a worker."""
