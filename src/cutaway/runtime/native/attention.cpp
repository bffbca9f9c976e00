// Softmax attention, forward and backward, without a T x T matrix in memory: a block of queries at a time (Dao et al. 2022).
//
//   scores = scale · Q Kᵀ,  P = exp(scores − lse),  O = P V
//   dV = Pᵀ dO,  dP = dO Vᵀ,  dS = scale · P ∘ (dP − rowsum(dO ∘ O)),  dQ = dS K,  dK = dSᵀ Q
#include <omp.h>

#include "gemm.h"

#define NEVER -1e30f  // the score of a key that may not be seen
#define BLOCK (ROWS * (48 / ROWS))  // queries at once

// A tensor [batch, head, position, width] by its strides in floats; width is contiguous.
typedef struct {
    float *data;
    ptrdiff_t batch, head, position;
} heads;

typedef struct {
    ptrdiff_t batch, heads, kv_heads, queries, keys, width;
    float scale;
    int is_causal, num_threads;
} shape;

INLINE float *at(const heads &x, ptrdiff_t batch, ptrdiff_t head) { return x.data + batch * x.batch + head * x.head; }

// How many keys the queries up to `last` see: all, or themselves and what came before. The queries are the last of the keys.
INLINE ptrdiff_t seen(const shape &s, ptrdiff_t last) {
    const ptrdiff_t upto = last + s.keys - s.queries;
    return s.is_causal && upto < s.keys ? upto : s.keys;
}

// scores [rows, keys] -> e^(score − most), zeros beyond what a row sees; sums and log-sum-exps of the rows.
static void soften(const shape &s, float *scores, ptrdiff_t stride, ptrdiff_t first, ptrdiff_t rows, ptrdiff_t keys, float *sums,
                   float *lse) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        float *row = scores + r * stride;
        const ptrdiff_t limit = seen(s, first + r + 1), padded = up_to(keys, LANES);
        for (ptrdiff_t j = limit; j < padded; j++) row[j] = NEVER;
        vector high = load(row);
        for (ptrdiff_t j = LANES; j < padded; j += LANES) high = most(high, load(row + j));
        const float top = most_of(high);
        vector sum = all(0);
        for (ptrdiff_t j = 0; j < padded; j += LANES) {
            const vector part = exponential((load(row + j) - top) * s.scale);
            store(row + j, part);
            sum += part;
        }
        sums[r] = sum_of(sum);
        lse[r] = top * s.scale + logf(sums[r]);
    }
}

static void forward_head(const shape &s, const float *q, ptrdiff_t q_stride, const float *packed_k, const float *packed_v,
                         float *out, ptrdiff_t out_stride, float *lse, float *scores) {
    const ptrdiff_t stride = up_to(s.keys, COLUMNS);
    float sums[BLOCK];
    for (ptrdiff_t first = 0; first < s.queries; first += BLOCK) {
        const ptrdiff_t rows = s.queries - first < BLOCK ? s.queries - first : BLOCK, keys = seen(s, first + rows);
        multiply_packed(rows, keys, s.width, in_rows(q + first * q_stride, q_stride), packed_k, s.width, scores, stride, NULL, 0);
        soften(s, scores, stride, first, rows, keys, sums, lse + first);
        float *const mixed = out + first * out_stride;
        multiply_packed(rows, s.width, keys, in_rows(scores, stride), packed_v, s.keys, mixed, out_stride, NULL, 0);
        for (ptrdiff_t r = 0; r < rows; r++)
            for (ptrdiff_t d = 0; d < s.width; d++) mixed[r * out_stride + d] /= sums[r];
    }
}

// The panels of one key-value head: [width, keys] of transposed rows, and [keys, width].
INLINE void pack_transposed(const shape &s, const float *x, ptrdiff_t stride, float *out) {
    pack_columns(matrix{x, 1, stride}, 0, s.keys, s.keys, s.width, out);
}

INLINE void pack_straight(const shape &s, const float *x, ptrdiff_t stride, float *out) {
    pack_columns(matrix{x, stride, 1}, 0, s.width, s.width, s.keys, out);
}

// q, out: [batch, head, query, width]; k, v: [batch, kv_head, key, width]; lse: [batch, head, query], contiguous.
extern "C" __attribute__((visibility("default"))) void PUBLIC(attention)(const shape *given, const heads *q, const heads *k,
                                                                         const heads *v, const heads *out, float *lse) {
    const shape s = *given;
    const ptrdiff_t wide_keys = up_to(s.keys, COLUMNS), wide = up_to(s.width, COLUMNS), group = s.heads / s.kv_heads;
#pragma omp parallel for num_threads(s.num_threads) schedule(static)
    for (ptrdiff_t item = 0; item < s.batch * s.kv_heads; item++) {
        const ptrdiff_t b = item / s.kv_heads, kv = item % s.kv_heads;
        float *const packed_k = room_for((size_t)(s.width * wide_keys + wide * s.keys + BLOCK * wide_keys), 2);
        float *const packed_v = packed_k + s.width * wide_keys, *const scores = packed_v + wide * s.keys;
        pack_transposed(s, at(*k, b, kv), k->position, packed_k);
        pack_straight(s, at(*v, b, kv), v->position, packed_v);
        for (ptrdiff_t h = kv * group; h < (kv + 1) * group; h++)
            forward_head(s, at(*q, b, h), q->position, packed_k, packed_v, at(*out, b, h), out->position,
                         lse + (b * s.heads + h) * s.queries, scores);
    }
}

typedef struct {
    const float *k, *k_transposed, *v_transposed;  // packed
    float *p, *d_s, *right;
} workspace;

// P, then dS in its place: both [rows, keys], rows `stride` apart.
static void differentiate(const shape &s, float *p, float *d_p, ptrdiff_t stride, ptrdiff_t first, ptrdiff_t rows, ptrdiff_t keys,
                          const float *lse, const float *deltas) {
    const ptrdiff_t padded = up_to(keys, LANES);
    for (ptrdiff_t r = 0; r < rows; r++) {
        float *const row = p + r * stride, *const slope = d_p + r * stride;
        const ptrdiff_t limit = seen(s, first + r + 1);
        for (ptrdiff_t j = limit; j < padded; j++) row[j] = NEVER, slope[j] = 0;
        for (ptrdiff_t j = 0; j < padded; j += LANES) {
            const vector weight = exponential(load(row + j) * s.scale - lse[r]);
            store(row + j, weight);
            store(slope + j, weight * (load(slope + j) - deltas[r]) * s.scale);
        }
    }
}

static void backward_head(const shape &s, const float *q, ptrdiff_t q_stride, const float *out, ptrdiff_t out_stride,
                          const float *d_out, ptrdiff_t d_out_stride, const float *lse, float *d_q, ptrdiff_t d_q_stride, float *d_k,
                          ptrdiff_t d_k_stride, float *d_v, ptrdiff_t d_v_stride, int is_added, workspace w) {
    const ptrdiff_t stride = up_to(s.keys, COLUMNS);
    float deltas[BLOCK];
    for (ptrdiff_t block = (s.queries - 1) / BLOCK; block >= 0; block--, is_added = 1) {
        const ptrdiff_t first = block * BLOCK, rows = s.queries - first < BLOCK ? s.queries - first : BLOCK;
        const ptrdiff_t keys = seen(s, first + rows);
        const float *const queries = q + first * q_stride, *const slopes = d_out + first * d_out_stride;
        for (ptrdiff_t r = 0; r < rows; r++) {
            deltas[r] = inner_product(s.width, slopes + r * d_out_stride, out + (first + r) * out_stride);
        }
        multiply_packed(rows, keys, s.width, in_rows(queries, q_stride), w.k_transposed, s.width, w.p, stride, NULL, 0);
        multiply_packed(rows, keys, s.width, in_rows(slopes, d_out_stride), w.v_transposed, s.width, w.d_s, stride, NULL, 0);
        differentiate(s, w.p, w.d_s, stride, first, rows, keys, lse + first, deltas);

        pack_columns(matrix{slopes, d_out_stride, 1}, 0, s.width, s.width, rows, w.right);
        multiply_packed(keys, s.width, rows, in_columns(w.p, stride), w.right, rows, d_v, d_v_stride, NULL, is_added);

        pack_columns(matrix{queries, q_stride, 1}, 0, s.width, s.width, rows, w.right);
        multiply_packed(keys, s.width, rows, in_columns(w.d_s, stride), w.right, rows, d_k, d_k_stride, NULL, is_added);

        multiply_packed(rows, s.width, keys, in_rows(w.d_s, stride), w.k, s.keys, d_q + first * d_q_stride, d_q_stride, NULL, 0);
    }
}

// The gradients of q, k and v, of their shapes, from those of out: [batch, head, query, width].
extern "C" __attribute__((visibility("default"))) void PUBLIC(attention_backward)(
    const shape *given, const heads *q, const heads *k, const heads *v, const heads *out, const float *lse, const heads *d_out,
    const heads *d_q, const heads *d_k, const heads *d_v) {
    const shape s = *given;
    const ptrdiff_t wide_keys = up_to(s.keys, COLUMNS), wide = up_to(s.width, COLUMNS), group = s.heads / s.kv_heads;
    const size_t floats = (size_t)(2 * s.width * wide_keys + wide * s.keys + 2 * BLOCK * wide_keys + BLOCK * wide);
#pragma omp parallel for num_threads(s.num_threads) schedule(static)
    for (ptrdiff_t item = 0; item < s.batch * s.kv_heads; item++) {
        const ptrdiff_t b = item / s.kv_heads, kv = item % s.kv_heads;
        float *const room = room_for(floats, 3), *const k_transposed = room, *const v_transposed = room + s.width * wide_keys;
        float *const straight = v_transposed + s.width * wide_keys, *const p = straight + wide * s.keys;
        float *const d_s = p + BLOCK * wide_keys, *const right = d_s + BLOCK * wide_keys;
        pack_transposed(s, at(*k, b, kv), k->position, k_transposed);
        pack_transposed(s, at(*v, b, kv), v->position, v_transposed);
        pack_straight(s, at(*k, b, kv), k->position, straight);
        const workspace w = {straight, k_transposed, v_transposed, p, d_s, right};
        for (ptrdiff_t h = kv * group; h < (kv + 1) * group; h++)
            backward_head(s, at(*q, b, h), q->position, at(*out, b, h), out->position, at(*d_out, b, h), d_out->position,
                          lse + (b * s.heads + h) * s.queries, at(*d_q, b, h), d_q->position, at(*d_k, b, kv), d_k->position,
                          at(*d_v, b, kv), d_v->position, h > kv * group, w);
    }
}
