"""Projections with weights of 16, 8 or 4 bits: formats (rounding) · tiles (how codes lie) · projection (modules) · kernels (native)."""
