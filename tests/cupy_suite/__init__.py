"""CuPy's own test suite, a fixed sample of it, on the software GPU through the stub."""
