"""Tests of the readable definition: config, visibility, positions, layers, leakage, parity, taps."""
