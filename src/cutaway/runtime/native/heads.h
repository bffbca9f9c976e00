// Attention of one token: a few heads over the keys and values that they share, each of which is read, and made wide, once for them.
#pragma once
#include "held.h"
#include "sums.h"

// scores[h][j] = q[h] · keys[j]. q: [H, width]; keys: [count, width], as they are held; scores: rows `apart`, with room for LANES more.
template <int H, typename NUMBER>
INLINE void score_keys(ptrdiff_t width, const float *q, const NUMBER *keys, ptrdiff_t count, float *scores, ptrdiff_t apart) {
    constexpr int KEYS = LANES / H;
    for (ptrdiff_t j = 0; j < count; j += KEYS) {
        vector sums[LANES];
        const NUMBER *rows[KEYS];
        for (int i = 0; i < LANES; i++) sums[i] = all(0);
        for (int i = 0; i < KEYS; i++) rows[i] = keys + (j + i < count ? j + i : j) * width;
        ptrdiff_t d = 0;
        for (; d + LANES <= width; d += LANES) {
            vector x[KEYS];
#pragma GCC unroll 16
            for (int i = 0; i < KEYS; i++) x[i] = load_wide(rows[i] + d);
#pragma GCC unroll 4
            for (int h = 0; h < H; h++) {
                const vector one = load(q + h * width + d);
#pragma GCC unroll 16
                for (int i = 0; i < KEYS; i++) sums[h * KEYS + i] += one * x[i];
            }
        }
        float found[LANES];
        store(found, sums_of(sums));
        for (int h = 0; h < H; h++) {
            for (ptrdiff_t rest = d; rest < width; rest++)
                for (int i = 0; i < KEYS; i++) found[h * KEYS + i] += q[h * width + rest] * wide(rows[i][rest]);
            memcpy(scores + h * apart + j, found + h * KEYS, sizeof(float) * KEYS);
        }
    }
}

// CHUNKS vectors of each head's sum over the values: out[h] += Σ shares[h][j] · values[j].
template <int H, int CHUNKS, typename NUMBER>
INLINE void add_chunks(ptrdiff_t width, const float *shares, ptrdiff_t apart, const NUMBER *values, ptrdiff_t count, float *out) {
    vector sums[H][CHUNKS];
    for (int h = 0; h < H; h++)
        for (int c = 0; c < CHUNKS; c++) sums[h][c] = load(out + h * width + c * LANES);
    for (ptrdiff_t j = 0; j < count; j++) {
        vector x[CHUNKS];
#pragma GCC unroll 4
        for (int c = 0; c < CHUNKS; c++) x[c] = load_wide(values + j * width + c * LANES);
#pragma GCC unroll 4
        for (int h = 0; h < H; h++)
#pragma GCC unroll 4
            for (int c = 0; c < CHUNKS; c++) sums[h][c] += shares[h * apart + j] * x[c];
    }
    for (int h = 0; h < H; h++)
        for (int c = 0; c < CHUNKS; c++) store(out + h * width + c * LANES, sums[h][c]);
}

// out[h] += Σ shares[h][j] · values[j]. shares: rows `apart`; values: [count, width], as they are held; out: [H, width].
template <int H, typename NUMBER>
INLINE void add_values(ptrdiff_t width, const float *shares, ptrdiff_t apart, const NUMBER *values, ptrdiff_t count, float *out) {
    constexpr int MOST = H == 4 && LANES < 16 ? 2 : 4;  // so that the sums fit the registers
    ptrdiff_t d = 0;
    for (; d + MOST * LANES <= width; d += MOST * LANES) add_chunks<H, MOST>(width, shares, apart, values + d, count, out + d);
    switch ((width - d) / LANES) {
        case 3: add_chunks<H, 3>(width, shares, apart, values + d, count, out + d); break;
        case 2: add_chunks<H, 2>(width, shares, apart, values + d, count, out + d); break;
        case 1: add_chunks<H, 1>(width, shares, apart, values + d, count, out + d); break;
    }
    for (int h = 0; h < H; h++)
        for (ptrdiff_t rest = width / LANES * LANES; rest < width; rest++)
            for (ptrdiff_t j = 0; j < count; j++) out[h * width + rest] += shares[h * apart + j] * wide(values[j * width + rest]);
}
