"""The generator and the verifier, for grids of one, two or three axes, built from the same blocks."""
