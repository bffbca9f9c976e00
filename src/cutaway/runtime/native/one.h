// What one token goes through between two matrices: norms, rotary positions, activations, attention over the keys so far.
#pragma once
#include "few.h"
#include "gemm.h"

// out[i] = f(a[i], b[i]) for first <= i < last; the rest of a vector by the same function.
template <typename FUNCTION>
INLINE void combine(ptrdiff_t first, ptrdiff_t last, const float *a, const float *b, float *out, FUNCTION f) {
    ptrdiff_t i = first;
    for (; i + LANES <= last; i += LANES) store(out + i, f(load(a + i), load(b + i)));
    for (; i < last; i++) out[i] = f(all(a[i]), all(b[i]))[0];
}

template <typename FUNCTION>
INLINE void change(ptrdiff_t first, ptrdiff_t last, const float *a, float *out, FUNCTION f) {
    combine(first, last, a, a, out, [f](vector x, vector) { return f(x); });
}

INLINE vector choose(integers where, vector x, vector y) { return (vector)(((integers)x & where) | ((integers)y & ~where)); }

// tanh: an odd polynomial near 0 (Cephes), else 1 − 2 / (1 + e^2x).
INLINE vector hyperbolic_tangent(vector x) {
    const vector square = x * x;
    vector p = all(-5.70498872745e-3f);
    p = p * square + 2.06390887954e-2f;
    p = p * square - 5.37397155531e-2f;
    p = p * square + 1.33314422036e-1f;
    p = p * square - 3.33332819422e-1f;
    return choose(square < all(0.390625f), p * square * x + x, 1.0f - 2.0f / (1.0f + exponential(2.0f * x)));
}

// erf as a quotient of polynomials on ±4, where it is ±1 in fp32 (Eigen's).
INLINE vector error_function(vector x) {
    x = most(all(-4.0f), least(all(4.0f), x));
    const vector square = x * x;
    vector p = all(-2.72614225801306e-10f);
    p = p * square + 2.77068142495902e-08f;
    p = p * square - 2.10102402082508e-06f;
    p = p * square - 5.69250639462346e-05f;
    p = p * square - 7.34990630326855e-04f;
    p = p * square - 2.95459980854025e-03f;
    p = p * square - 1.60960333262415e-02f;
    vector q = all(-1.45660718464996e-05f);
    q = q * square - 2.13374055278905e-04f;
    q = q * square - 1.68282697438203e-03f;
    q = q * square - 7.37332916720468e-03f;
    q = q * square - 1.42647390514189e-02f;
    return x * p / q;
}

INLINE vector gelu_by_erf(vector x) { return 0.5f * x * (1.0f + error_function(x * 0.70710678118654752f)); }
INLINE vector gelu_by_tanh(vector x) {
    return x / (1.0f + exponential(-1.5957691216057308f * x * (1.0f + 0.044715f * x * x)));
}
INLINE vector silu(vector x) { return x / (1.0f + exponential(-x)); }

enum activation { GELU, GELU_TANH, RELU, RELU_SQUARED, SILU };

static void activate(int kind, ptrdiff_t first, ptrdiff_t last, const float *x, float *out) {
    const vector zero = all(0);
    switch (kind) {
        case GELU: return change(first, last, x, out, gelu_by_erf);
        case GELU_TANH: return change(first, last, x, out, gelu_by_tanh);
        case RELU: return change(first, last, x, out, [=](vector a) { return most(zero, a); });
        case RELU_SQUARED: return change(first, last, x, out, [=](vector a) { return most(zero, a) * most(zero, a); });
        case SILU: return change(first, last, x, out, silu);
    }
}

// (x − mean) / sqrt(variance + eps) · weight (+ bias), of one row.
INLINE void layer_norm(ptrdiff_t width, const float *x, const float *weight, const float *bias, float eps, float *out) {
    vector sum = all(0);
    ptrdiff_t i = 0;
    for (; i + LANES <= width; i += LANES) sum += load(x + i);
    float total = sum_of(sum);
    for (; i < width; i++) total += x[i];
    const float mean = total / width;
    vector squares = all(0);
    for (i = 0; i + LANES <= width; i += LANES) {
        const vector off = load(x + i) - mean;
        squares += off * off;
    }
    float rest = sum_of(squares);
    for (; i < width; i++) rest += (x[i] - mean) * (x[i] - mean);
    const float scale = 1.0f / sqrtf(rest / width + eps);
    combine(0, width, x, weight, out, [=](vector a, vector w) { return (a - mean) * scale * w; });
    if (bias) combine(0, width, out, bias, out, [](vector a, vector b) { return a + b; });
}

// x / sqrt(mean(x²) + eps) · (weight + offset), of one row.
INLINE void rms_norm(ptrdiff_t width, const float *x, const float *weight, float offset, float eps, float *out) {
    const float scale = 1.0f / sqrtf(inner_product(width, x, x) / width + eps);
    combine(0, width, x, weight, out, [=](vector a, vector w) { return a * scale * (w + offset); });
}

// The first 2 · pairs numbers of a head turned: pairs are (i, i + pairs), or (2i, 2i + 1) when interleaved.
INLINE void rotate(ptrdiff_t width, ptrdiff_t pairs, ptrdiff_t is_interleaved, const float *x, const float *cos, const float *sin,
                   float *out) {
    const ptrdiff_t step = is_interleaved ? 2 : 1, apart = is_interleaved ? 1 : pairs;
    ptrdiff_t i = 0;
    for (; !is_interleaved && i + LANES <= pairs; i += LANES) {
        const vector first = load(x + i), second = load(x + pairs + i), c = load(cos + i), s = load(sin + i);
        store(out + i, first * c - second * s);
        store(out + pairs + i, second * c + first * s);
    }
    for (; i < pairs; i++) {
        const float first = x[i * step], second = x[i * step + apart];
        out[i * step] = first * cos[i] - second * sin[i];
        out[i * step + apart] = second * cos[i] + first * sin[i];
    }
    for (i = 2 * pairs; i < width; i++) out[i] = x[i];
}
