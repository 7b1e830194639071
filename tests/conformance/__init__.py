"""One body per behaviour, over every route to a driver: direct, in-process stub, ZeroMQ."""
