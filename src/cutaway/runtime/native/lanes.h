// Vectors of floats, as wide as the instruction set that this unit is compiled for. No intrinsics: GCC's and Clang's vectors.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// LANES and ROWS given from outside: so the shapes of one instruction set are tested on a processor that has another.
#if defined(LANES)
#elif defined(__AVX512F__)
#define LANES 16
#define ROWS 12  // of a tile: 12 x 2 sums fit the 32 registers
#elif defined(__AVX2__)
#define LANES 8
#define ROWS 6  // 6 x 2 sums fit 16 registers
#else
#define LANES 4
#define ROWS 6
#endif
#define COLUMNS (2 * LANES)

// Every public function carries the name of its instruction set: cutaway_product_avx2, …
#define JOIN_(name, set) cutaway_##name##_##set
#define JOIN(name, set) JOIN_(name, set)
#define PUBLIC(name) JOIN(name, INSTRUCTIONS)
#define INLINE static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t integers __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE vector load(const float *place) { return *(const vector *)place; }
INLINE void store(float *place, vector x) { *(vector *)place = x; }
INLINE vector all(float x) { return x - (vector){0}; }
INLINE vector least(vector x, vector y) { return x < y ? x : y; }
INLINE vector most(vector x, vector y) { return x > y ? x : y; }

INLINE float sum_of(vector x) {
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += x[lane];
    return sum;
}

INLINE float most_of(vector x) {
    float found = x[0];
    for (int lane = 1; lane < LANES; lane++) found = x[lane] > found ? x[lane] : found;
    return found;
}

INLINE float inner_product(ptrdiff_t count, const float *x, const float *y) {
    vector sum = all(0);
    ptrdiff_t i = 0;
    for (; i + LANES <= count; i += LANES) sum += load(x + i) * load(y + i);
    float rest = sum_of(sum);
    for (; i < count; i++) rest += x[i] * y[i];
    return rest;
}

// e^x to about 1 ulp: 2^n · e^r with r in ±ln 2 / 2, a polynomial of degree 6 (Cephes). Below −87 it is 0, above 88 held. What is
// no number stays none: a comparison with it is false, and the second is then taken.
INLINE vector exponential(vector x) {
    integers is_tiny = x < all(-87.0f);
    x = most(all(-87.0f), least(all(88.0f), x));
    vector n = x * 1.44269504088896341f + 12582912.0f;  // rounds to the nearest integer
    n -= 12582912.0f;
    vector r = x - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    vector p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    integers exponent = (__builtin_convertvector(n, integers) + 127) << 23;
    vector power = p * (vector)exponent;
    return (vector)((integers)power & ~is_tiny);
}
