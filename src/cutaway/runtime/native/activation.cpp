// GELU by its tanh (Hendrycks & Gimpel 2016), forward and backward: x · σ(2u), u = √(2/π) (x + 0.044715 x³).
#include <omp.h>

#include "lanes.h"

#define TWICE_C 1.5957691216057308f  // 2 √(2/π)
#define CUBIC 0.044715f

INLINE vector sigmoid_of_twice_u(vector x) { return 1.0f / (1.0f + exponential(-TWICE_C * x * (1.0f + CUBIC * x * x))); }

INLINE vector gelu(vector x) { return x * sigmoid_of_twice_u(x); }

INLINE vector gelu_slope(vector x) {
    const vector gate = sigmoid_of_twice_u(x);
    return gate + x * gate * (1.0f - gate) * TWICE_C * (1.0f + 3.0f * CUBIC * x * x);
}

// The part of `count` floats that a thread works on, in whole vectors.
INLINE void share(ptrdiff_t count, ptrdiff_t *first, ptrdiff_t *last) {
    const ptrdiff_t vectors = (count + LANES - 1) / LANES, threads = omp_get_num_threads(), me = omp_get_thread_num();
    *first = vectors * me / threads * LANES;
    *last = vectors * (me + 1) / threads * LANES < count ? vectors * (me + 1) / threads * LANES : count;
}

extern "C" __attribute__((visibility("default"))) void PUBLIC(gelu)(ptrdiff_t count, const float *x, float *out, int num_threads) {
#pragma omp parallel num_threads(num_threads)
    {
        ptrdiff_t i, last;
        share(count, &i, &last);
        for (; i + LANES <= last; i += LANES) store(out + i, gelu(load(x + i)));
        for (; i < last; i++) out[i] = gelu(all(x[i]))[0];
    }
}

// d_x: the gradient of x, from that of the result; it may lie where d_out does.
extern "C" __attribute__((visibility("default"))) void PUBLIC(gelu_backward)(ptrdiff_t count, const float *x, const float *d_out,
                                                                             float *d_x, int num_threads) {
#pragma omp parallel num_threads(num_threads)
    {
        ptrdiff_t i, last;
        share(count, &i, &last);
        for (; i + LANES <= last; i += LANES) store(d_x + i, load(d_out + i) * gelu_slope(load(x + i)));
        for (; i < last; i++) d_x[i] = d_out[i] * gelu_slope(all(x[i]))[0];
    }
}
