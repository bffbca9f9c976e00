// C = A · B (+ bias), shared between the threads of torch's own pool.
#include <omp.h>

#include <atomic>
#include <vector>

#include "gemm.h"

#define CHUNK (ROWS * (48 / ROWS))  // rows of C that a thread takes at once
#define SMALL (1 << 17)  // floats of C: up to here, threads may each make a whole C over their part of the depth

typedef struct {
    ptrdiff_t rows, columns, depth;
    matrix a, b;
    float *c;
    ptrdiff_t stride;
    const float *bias;
    float *row_sums;
} task;

// sums[row] += the row of packed A. The panel repeats its rows every ROWS floats, so every LANES places start a vector anew.
static void add_row_sums(const float *packed, ptrdiff_t rows, ptrdiff_t deep, float *sums) {
    for (ptrdiff_t i = 0; i < rows; i += ROWS) {
        const float *tile = packed + i * deep;
        vector parts[ROWS];
        float whole[ROWS * LANES];
        for (int r = 0; r < ROWS; r++) parts[r] = all(0);
        ptrdiff_t k = 0;
        for (; k + LANES <= deep; k += LANES)
            for (int r = 0; r < ROWS; r++) parts[r] += load(tile + k * ROWS + r * LANES);
        for (int r = 0; r < ROWS; r++) store(whole + r * LANES, parts[r]);
        for (int place = 0; place < ROWS * LANES; place++)
            if (i + place % ROWS < rows) sums[i + place % ROWS] += whole[place];
        for (; k < deep; k++)
            for (int r = 0; r < ROWS && i + r < rows; r++) sums[i + r] += tile[k * ROWS + r];
    }
}

// Rows first … last of C over one packed stretch of the depth, which starts at k.
static void multiply_rows(const task &t, ptrdiff_t first, ptrdiff_t last, ptrdiff_t k, ptrdiff_t deep, const float *packed_b,
                          float *packed_a, int is_first) {
    for (ptrdiff_t i = first; i < last; i += ROWS_AT_ONCE) {
        const ptrdiff_t high = last - i < ROWS_AT_ONCE ? last - i : ROWS_AT_ONCE;
        const matrix left = {t.a.data + i * t.a.row + k * t.a.column, t.a.row, t.a.column};
        const float *const bias = is_first ? t.bias : NULL;
        float *const out = t.c + i * t.stride;
        if (t.a.column == 1 && !t.row_sums) {
            multiply_packed(high, t.columns, deep, in_rows(left.data, t.a.row), packed_b, deep, out, t.stride, bias, !is_first);
            continue;
        }
        pack_rows(left, high, deep, packed_a);
        if (t.row_sums) add_row_sums(packed_a, high, deep, t.row_sums + i);
        multiply_packed(high, t.columns, deep, packed_rows(packed_a, deep), packed_b, deep, out, t.stride, bias, !is_first);
    }
}

// Each thread makes its own rows of C, and then what another has not begun: a processor that others slow down delays nobody.
// They pack B together. claims: for each chunk of rows, how many stretches of the depth were begun.
static void share_rows(const task &t, float *packed_b, std::atomic<int> *claims, ptrdiff_t me, ptrdiff_t threads) {
    const ptrdiff_t chunks = (t.rows + CHUNK - 1) / CHUNK, tiles = up_to(t.columns, COLUMNS) / COLUMNS, own = chunks * me / threads;
    float *const packed_a = room_for((size_t)ROWS_AT_ONCE * DEPTH, 1);
    int stretch = 0;
    for (ptrdiff_t k = 0; k < t.depth; k += DEPTH, stretch++) {
        const ptrdiff_t deep = t.depth - k < DEPTH ? t.depth - k : DEPTH;
        const matrix part = {t.b.data + k * t.b.row, t.b.row, t.b.column};
        pack_columns(part, tiles * me / threads * COLUMNS, tiles * (me + 1) / threads * COLUMNS, t.columns, deep, packed_b);
#pragma omp barrier
        for (ptrdiff_t number = 0; number < chunks; number++) {
            const ptrdiff_t chunk = (own + number) % chunks, first = chunk * CHUNK;
            int expected = stretch;
            if (!claims[chunk].compare_exchange_strong(expected, stretch + 1)) continue;
            multiply_rows(t, first, first + CHUNK < t.rows ? first + CHUNK : t.rows, k, deep, packed_b, packed_a, k == 0);
        }
#pragma omp barrier
    }
}

// Each thread makes all of C over its part of the depth, whose inputs it has in its cache; then the parts are added up.
static void share_depth(const task &t, float *parts, ptrdiff_t me, ptrdiff_t threads) {
    const ptrdiff_t size = t.rows * t.columns, first = t.depth * me / threads, last = t.depth * (me + 1) / threads;
    float *const packed_a = room_for((size_t)ROWS_AT_ONCE * DEPTH, 1);
    float *const packed_b = room_for((size_t)up_to(t.columns, COLUMNS) * DEPTH, 2);
    task mine = t;
    if (me) {
        mine.c = parts + (me - 1) * (size + t.rows), mine.stride = t.columns;
        mine.row_sums = t.row_sums ? mine.c + size : NULL;
        if (mine.row_sums) memset(mine.row_sums, 0, t.rows * sizeof(float));
    }
    for (ptrdiff_t k = first; k < last; k += DEPTH) {
        const ptrdiff_t deep = last - k < DEPTH ? last - k : DEPTH;
        pack_columns(matrix{t.b.data + k * t.b.row, t.b.row, t.b.column}, 0, t.columns, t.columns, deep, packed_b);
        multiply_rows(mine, 0, t.rows, k, deep, packed_b, packed_a, k == first);
    }
#pragma omp barrier
    for (ptrdiff_t other = 0; other + 1 < threads; other++) {
        const float *const part = parts + other * (size + t.rows);
        for (ptrdiff_t i = t.rows * me / threads; i < t.rows * (me + 1) / threads; i++) {
            for (ptrdiff_t j = 0; j < t.columns; j++) t.c[i * t.stride + j] += part[i * t.columns + j];
            if (t.row_sums) t.row_sums[i] += part[size + i];
        }
    }
}

// c: [rows, columns], rows `stride` apart. a: [rows, depth], b: [depth, columns], each with its strides. bias: [columns] or null.
// row_sums: where given, [rows] sums of a along its depth (the gradient of a bias).
extern "C" __attribute__((visibility("default"))) void PUBLIC(product)(
    ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, const float *a, ptrdiff_t a_row, ptrdiff_t a_column, const float *b,
    ptrdiff_t b_row, ptrdiff_t b_column, float *c, ptrdiff_t stride, const float *bias, float *row_sums, int num_threads) {
    const task t = {rows, columns, depth, {a, a_row, a_column}, {b, b_row, b_column}, c, stride, bias, row_sums};
    const int is_deep = !bias && a_column != 1 && rows * columns <= SMALL && depth >= num_threads * LANES;
    const size_t stretch = (size_t)(up_to(columns, COLUMNS) * (depth < DEPTH ? depth : DEPTH));
    float *const shared = room_for(is_deep ? (size_t)(num_threads * rows * (columns + 1)) : stretch, 0);
    if (row_sums) memset(row_sums, 0, rows * sizeof(float));
    std::vector<std::atomic<int>> claims(is_deep ? 0 : (rows + CHUNK - 1) / CHUNK);
#pragma omp parallel num_threads(num_threads)
    {
        const ptrdiff_t threads = omp_get_num_threads(), me = omp_get_thread_num();
        if (is_deep)
            share_depth(t, shared, me, threads);
        else
            share_rows(t, shared, claims.data(), me, threads);
    }
}
