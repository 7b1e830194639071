"""PTX instructions on the software GPU against independent models."""
