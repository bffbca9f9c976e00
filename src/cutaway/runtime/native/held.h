// Numbers as they are held, in fewer bits than fp32, and again as fp32: bf16, and codes of 8 bits with a scale for each vector (see
// runtime/formats.py). What is no number stays none.
#pragma once
#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "lanes.h"

typedef int8_t lane_codes __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef uint16_t lane_halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

// One number, or as many as a vector has lanes, in fp32.
INLINE float wide(float x) { return x; }
INLINE float wide(int8_t code) { return code; }
INLINE float wide(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
INLINE vector load_wide(const float *place) { return load(place); }
// Where there is an instruction, it is named: GCC 12 takes what stands last apart, into five to nine steps.
#if defined(__AVX512F__) && LANES == 16
INLINE integers load_integers(const int8_t *place) { return (integers)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)place)); }
INLINE integers load_integers(const uint16_t *place) { return (integers)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)place)); }
#elif defined(__AVX2__) && LANES == 8
INLINE integers load_integers(const int8_t *place) { return (integers)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)place)); }
INLINE integers load_integers(const uint16_t *place) { return (integers)_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)place)); }
#else
INLINE integers load_integers(const int8_t *place) { return __builtin_convertvector(*(const lane_codes *)place, integers); }
INLINE integers load_integers(const uint16_t *place) { return __builtin_convertvector(*(const lane_halves *)place, integers); }
#endif
INLINE vector load_wide(const int8_t *place) { return __builtin_convertvector(load_integers(place), vector); }
INLINE vector load_wide(const uint16_t *place) { return (vector)(load_integers(place) << 16); }

// As many numbers as there are up to a vector of them, zeros behind.
template <typename NUMBER>
INLINE vector load_some(const NUMBER *place, ptrdiff_t count) {
    if (count >= LANES) return load_wide(place);
    NUMBER some[LANES] = {0};
    memcpy(some, place, count * sizeof(NUMBER));
    return load_wide(some);
}

// x [width] as it is held; its scale comes back, 1 where it has none.
INLINE float hold(ptrdiff_t width, const float *x, float *out) {
    memcpy(out, x, width * sizeof(float));
    return 1;
}
INLINE float hold(ptrdiff_t width, const float *x, uint16_t *out) {
    for (ptrdiff_t i = 0; i < width; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        out[i] = x[i] == x[i] ? (bits + 0x7fff + (bits >> 16 & 1)) >> 16 : 0x7fc0;  // the nearest, of two the even one
    }
    return 1;
}
INLINE float hold(ptrdiff_t width, const float *x, int8_t *out) {
    float most = 0;
    for (ptrdiff_t i = 0; i < width; i++) {
        const float size = fabsf(x[i]);
        if (!(size <= most)) most = size;
        if (size != size) break;
    }
    const float scale = most / 127;
    for (ptrdiff_t i = 0; i < width; i++) {
        const float code = x[i] / scale;  // no number for a vector of zeros, and beside one that is infinite or none
        out[i] = code == code ? (int8_t)lrintf(code < -127 ? -127 : code > 127 ? 127 : code) : 0;
    }
    return scale;
}
