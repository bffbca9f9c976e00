"""Weights of 16, 8 or 4 bits.

rounding (numbers) · tiles (how they lie) · projection (modules) · kernels (native products) · packed (torch's own, without them)
"""
