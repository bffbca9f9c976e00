"""Native kernels: C++ with a plain C interface, built with the package where there is a compiler.

lanes.h (vectors) · gemm (products) · few (of a token or a few) · attention · activation, each compiled once for every instruction
set · build (the compiler) · loader (what this processor can run). runtime/kernels.py is what the rest of the package uses.
"""
