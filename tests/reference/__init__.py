"""Slow twins: the same mathematics, written out literally and without torch's own kernels."""
