"""Native kernels: C++ with a plain C interface, built with the package where there is a compiler.

lanes.h (vectors) · gemm (products) · few (of a token or a few) · attention · activation, each compiled once for every instruction
set · bytes.h, integers (weights of 8 and 4 bits), halves (of bf16), rounding (to 8 and 4), for the sets that help them ·
processor (what it can do) · build (the compiler) · loader (what this processor can run). runtime/kernels.py and
runtime/quantised/ are what the rest of the package uses.
"""
