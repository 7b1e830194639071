"""The software GPU used directly: what the conformance suite, made for any driver, cannot ask."""
