// Numbers as they are held, in fewer bits than fp32, and again as fp32: bf16, and codes of 8 bits with a scale for each vector (see
// runtime/formats.py). What is no number stays none.
#pragma once
#include "lanes.h"

typedef int8_t lane_codes __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef int16_t lane_shorts __attribute__((vector_size(2 * LANES)));
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
INLINE vector load_wide(const int8_t *place) {
    const lane_shorts half_way = __builtin_convertvector(*(const lane_codes *)place, lane_shorts);  // GCC takes four times at once apart
    return __builtin_convertvector(__builtin_convertvector(half_way, integers), vector);
}
INLINE vector load_wide(const uint16_t *place) { return (vector)(__builtin_convertvector(*(const lane_halves *)place, integers) << 16); }

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
