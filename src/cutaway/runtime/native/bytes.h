// Products of small whole numbers, by the instruction that the processor has for them.
//
// Two ways, from the same lines above them: a dot product of four bytes (VNNI's vpdpbusd: unsigned times signed, added to 32 bits),
// or pairs (AVX2's vpmaddubsw and vpmaddwd). A model of each instruction, in plain C++, stands below both: with LANES given from
// outside it takes their place, so that a way is tested on a processor that has not got it.
#pragma once
#if defined(LANES) || !defined(__AVX2__)
#define IS_MODEL
#endif
#include "lanes.h"
#ifndef IS_MODEL
#include <immintrin.h>
#endif

#if LANES == 16
#define HAS_DOT  // of four bytes
#endif

#define GROUP 32    // inputs that share a scale
#define OUTPUTS 16  // of a tile
#define QUADS 8     // of four inputs, in a group
#define VECTORS (OUTPUTS / LANES)

// Lanes of 32 bits that hold four bytes each, or two halves.
INLINE integers load_bytes(const void *place) { return *(const integers *)place; }
INLINE integers all_bytes(int32_t word) { return word - (integers){0}; }
INLINE int32_t word_at(const void *place) {
    int32_t word;
    memcpy(&word, place, sizeof word);
    return word;
}

INLINE vector to_floats(integers x) { return __builtin_convertvector(x, vector); }

#ifdef IS_MODEL
INLINE int saturated(int x) { return x < -32768 ? -32768 : x > 32767 ? 32767 : x; }

// vpdpbusd: sum + Σ unsigned · signed, of four bytes a lane.
INLINE integers dot(integers sum, integers unsigned_bytes, integers signed_bytes) {
    uint8_t one[4 * LANES];
    int8_t other[4 * LANES];
    memcpy(one, &unsigned_bytes, sizeof one), memcpy(other, &signed_bytes, sizeof other);
    for (int byte = 0; byte < 4 * LANES; byte++) sum[byte / 4] += one[byte] * other[byte];
    return sum;
}

// vpmaddubsw: the two pairs of a lane, unsigned · signed, each held within 16 bits.
INLINE integers multiply_pairs(integers unsigned_bytes, integers signed_bytes) {
    uint8_t one[4 * LANES];
    int8_t other[4 * LANES];
    int16_t sums[2 * LANES];
    integers result;
    memcpy(one, &unsigned_bytes, sizeof one), memcpy(other, &signed_bytes, sizeof other);
    for (int half = 0; half < 2 * LANES; half++)
        sums[half] = saturated(one[2 * half] * other[2 * half] + one[2 * half + 1] * other[2 * half + 1]);
    memcpy(&result, sums, sizeof result);
    return result;
}

// vpmaddwd: the halves of a lane times those of another, added up.
INLINE integers multiply_halves(integers x, integers y) {
    int16_t one[2 * LANES], other[2 * LANES];
    memcpy(one, &x, sizeof one), memcpy(other, &y, sizeof other);
    for (int lane = 0; lane < LANES; lane++) x[lane] = one[2 * lane] * other[2 * lane] + one[2 * lane + 1] * other[2 * lane + 1];
    return x;
}

// vpaddw, modulo 2^16.
INLINE integers add_halves(integers x, integers y) {
    uint16_t one[2 * LANES], other[2 * LANES];
    memcpy(one, &x, sizeof one), memcpy(other, &y, sizeof other);
    for (int half = 0; half < 2 * LANES; half++) one[half] += other[half];
    memcpy(&x, one, sizeof one);
    return x;
}

// vpsignb and vpabsb, modulo 2^8: |−128| is 128 without a sign.
INLINE integers signed_by(integers x, integers sign) {
    int8_t one[4 * LANES], other[4 * LANES];
    memcpy(one, &x, sizeof one), memcpy(other, &sign, sizeof other);
    for (int byte = 0; byte < 4 * LANES; byte++) one[byte] = other[byte] < 0 ? -one[byte] : other[byte] ? one[byte] : 0;
    memcpy(&x, one, sizeof one);
    return x;
}
INLINE integers magnitude(integers x) { return signed_by(x, x); }

// Of a lane's four bytes the first and third, or the second and fourth, as halves: vpsllw and vpsraw.
INLINE integers even_halves(integers x) {
    int8_t bytes[4 * LANES];
    int16_t halves[2 * LANES];
    memcpy(bytes, &x, sizeof bytes);
    for (int half = 0; half < 2 * LANES; half++) halves[half] = bytes[2 * half];
    memcpy(&x, halves, sizeof halves);
    return x;
}
INLINE integers odd_halves(integers x) {
    int8_t bytes[4 * LANES];
    int16_t halves[2 * LANES];
    memcpy(bytes, &x, sizeof bytes);
    for (int half = 0; half < 2 * LANES; half++) halves[half] = bytes[2 * half + 1];
    memcpy(&x, halves, sizeof halves);
    return x;
}

// The nearest whole numbers, of two the even one.
INLINE integers nearest(vector x) {
    integers whole;
    for (int lane = 0; lane < LANES; lane++) whole[lane] = (int32_t)lrintf(x[lane]);
    return whole;
}

// The largest lane, the sum of all, and all as bytes, which hold them.
INLINE int32_t largest_of(integers x) {
    int32_t largest = x[0];
    for (int lane = 1; lane < LANES; lane++) largest = x[lane] > largest ? x[lane] : largest;
    return largest;
}
INLINE int32_t total_of(integers x) {
    int32_t total = 0;
    for (int lane = 0; lane < LANES; lane++) total += x[lane];
    return total;
}
INLINE void store_bytes(int8_t *place, integers x) {
    for (int lane = 0; lane < LANES; lane++) place[lane] = (int8_t)x[lane];
}

// fp16 -> fp32.
INLINE float from_half(uint16_t half) {
    const int32_t exponent = half >> 10 & 31, fraction = half & 1023;
    const float size = exponent == 31  ? (fraction ? NAN : INFINITY)
                       : exponent == 0 ? ldexpf((float)fraction, -24)
                                       : ldexpf((float)(fraction + 1024), exponent - 25);
    return half >> 15 ? -size : size;
}
INLINE vector load_halves(const uint16_t *place) {
    vector x;
    for (int lane = 0; lane < LANES; lane++) x[lane] = from_half(place[lane]);
    return x;
}
#elif LANES == 16
INLINE integers nearest(vector x) { return (integers)_mm512_cvtps_epi32((__m512)x); }
INLINE int32_t largest_of(integers x) { return _mm512_reduce_max_epi32((__m512i)x); }
INLINE int32_t total_of(integers x) { return _mm512_reduce_add_epi32((__m512i)x); }
INLINE void store_bytes(int8_t *place, integers x) { _mm_storeu_si128((__m128i *)place, _mm512_cvtepi32_epi8((__m512i)x)); }
INLINE vector load_halves(const uint16_t *place) { return (vector)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)place)); }
#ifdef __AVX512VNNI__
INLINE integers dot(integers sum, integers unsigned_bytes, integers signed_bytes) {
    return (integers)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)unsigned_bytes, (__m512i)signed_bytes);
}
#endif
#else
INLINE integers multiply_pairs(integers unsigned_bytes, integers signed_bytes) {
    return (integers)_mm256_maddubs_epi16((__m256i)unsigned_bytes, (__m256i)signed_bytes);
}
INLINE integers multiply_halves(integers x, integers y) { return (integers)_mm256_madd_epi16((__m256i)x, (__m256i)y); }
INLINE integers add_halves(integers x, integers y) { return (integers)_mm256_add_epi16((__m256i)x, (__m256i)y); }
INLINE integers signed_by(integers x, integers sign) { return (integers)_mm256_sign_epi8((__m256i)x, (__m256i)sign); }
INLINE integers magnitude(integers x) { return (integers)_mm256_abs_epi8((__m256i)x); }
INLINE integers even_halves(integers x) { return (integers)_mm256_srai_epi16(_mm256_slli_epi16((__m256i)x, 8), 8); }
INLINE integers odd_halves(integers x) { return (integers)_mm256_srai_epi16((__m256i)x, 8); }
INLINE integers nearest(vector x) { return (integers)_mm256_cvtps_epi32((__m256)x); }
INLINE int32_t largest_of(integers x) {
    __m128i most = _mm_max_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4e));
    return _mm_cvtsi128_si32(_mm_max_epi32(most, _mm_shuffle_epi32(most, 0xb1)));
}
INLINE int32_t total_of(integers x) {
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}
INLINE void store_bytes(int8_t *place, integers x) {
    const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)x), _mm256_extracti128_si256((__m256i)x, 1));
    _mm_storel_epi64((__m128i *)place, _mm_packs_epi16(halves, halves));
}
INLINE vector load_halves(const uint16_t *place) { return (vector)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)place)); }
#endif

// Room that grows and stays, for each thread.
static void *byte_room(size_t bytes, int which) {
    static thread_local struct { void *place; size_t size; } rooms[4];
    if (rooms[which].size < bytes) {
        free(rooms[which].place);
        rooms[which].size = bytes;
        if (posix_memalign(&rooms[which].place, 64, bytes)) abort();
    }
    return rooms[which].place;
}
