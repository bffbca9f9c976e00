// The products with rounded weights over ragged shapes, in memory that ends where the tensors end; to be compiled with the
// sanitizers. One row by itself must be what it is among others: the two run different lines. In parts, as plans run them, to the bit.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
void cutaway_product_rounded_here(ptrdiff_t, ptrdiff_t, ptrdiff_t, const float *, const uint8_t *, const uint16_t *, float, const float *,
                                  float *, int, int);
void cutaway_product_halves_here(ptrdiff_t, ptrdiff_t, ptrdiff_t, const float *, const uint16_t *, const float *, float *, int);
void cutaway_prepare_rounded_here(const void *, ptrdiff_t, const float *, void *);
void cutaway_rows_eight_here(const void *, ptrdiff_t, const float *, const void *, float *, ptrdiff_t, ptrdiff_t);
void cutaway_rows_four_here(const void *, ptrdiff_t, const float *, const void *, float *, ptrdiff_t, ptrdiff_t);
void cutaway_rows_halves_here(const void *, ptrdiff_t, const float *, const void *, float *, ptrdiff_t, ptrdiff_t);
void cutaway_round_weights_here(ptrdiff_t, ptrdiff_t, const void *, int, float, const float *, int, uint8_t *, uint16_t *, int, int);
}

static uint32_t state = 1;
static float drawn() { return (int32_t)(state = state * 1664525u + 1013904223u) / 2147483648.0f; }

template <typename T>
struct room {  // of exactly so many numbers
    T *at;
    explicit room(size_t count) { if (posix_memalign((void **)&at, 64, count * sizeof(T))) exit(2); }
    ~room() { free(at); }
};

static int differs(const float *one, const float *other, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++)
        if (!(fabsf(one[i] - other[i]) <= 1e-4f * (1 + fabsf(other[i])))) return printf("%g is not %g\n", one[i], other[i]);
    return 0;
}

struct integers { const uint8_t *codes; const uint16_t *scales; const float *bias; ptrdiff_t depth, columns; float factor; };
struct halves { const uint16_t *weights; const float *bias; ptrdiff_t depth, columns; };
typedef void (*parts)(const void *, ptrdiff_t, const float *, const void *, float *, ptrdiff_t, ptrdiff_t);

// Outputs a tile at a time, of all rows, against those of each row alone.
static int parted(parts function, const void *matrix, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, const float *x, bool is_prepared) {
    const size_t bytes = (depth + 31) / 32 * 40;
    room<uint8_t> prepared(rows * bytes), alone(bytes);
    room<float> out(rows * columns), one(columns);
    if (is_prepared) cutaway_prepare_rounded_here(matrix, rows, x, prepared.at);
    for (ptrdiff_t first = 0; first < columns; first += 16)
        function(matrix, rows, x, prepared.at, out.at, first, first + 16 < columns ? first + 16 : columns);
    for (ptrdiff_t r = 0; r < rows; r++) {
        if (is_prepared) cutaway_prepare_rounded_here(matrix, 1, x + r * depth, alone.at);
        function(matrix, 1, x + r * depth, alone.at, one.at, 0, columns);
        if (memcmp(one.at, out.at + r * columns, columns * sizeof(float))) return printf("row %ld has other bits\n", (long)r);
    }
    return 0;
}

static int check(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, int bits) {
    const ptrdiff_t tiles = (columns + 15) / 16, groups = (depth + 31) / 32, pairs = (depth + 1) / 2;
    room<float> x(rows * depth), weight(columns * depth), bias(columns), out(rows * columns), one(columns);
    room<uint8_t> codes(tiles * groups * 64 * bits);
    room<uint16_t> scales(tiles * groups * 16), halves(tiles * pairs * 32);
    const float tried[] = {bits == 8 ? 127.0f : -8.0f, bits == 8 ? 125.0f : 7.0f};
    for (ptrdiff_t i = 0; i < rows * depth; i++) x.at[i] = drawn();
    for (ptrdiff_t i = 0; i < columns * depth; i++) weight.at[i] = drawn();
    for (ptrdiff_t i = 0; i < columns; i++) bias.at[i] = drawn();
    for (ptrdiff_t i = 0; i < tiles * pairs * 32; i++) {
        union { float number; uint32_t bits; } each = {drawn()};
        halves.at[i] = each.bits >> 16;
    }
    room<uint16_t> upper(columns * depth);
    for (ptrdiff_t i = 0; i < columns * depth; i++) upper.at[i] = (uint16_t)(drawn() * 16000 + 16000);  // positive and finite in bf16
    cutaway_round_weights_here(columns, depth, upper.at, 1, 1, tried, 2, codes.at, scales.at, bits, 2);
    cutaway_round_weights_here(columns, depth, weight.at, 0, 1, tried, 2, codes.at, scales.at, bits, 2);
    cutaway_product_rounded_here(rows, columns, depth, x.at, codes.at, scales.at, 1, bias.at, out.at, bits, 2);
    for (ptrdiff_t r = 0; r < rows; r++) {
        cutaway_product_rounded_here(1, columns, depth, x.at + r * depth, codes.at, scales.at, 1, bias.at, one.at, bits, 1);
        if (differs(one.at, out.at + r * columns, columns)) return 1;
    }
    const integers matrix = {codes.at, scales.at, bias.at, depth, columns, 1};
    if (parted(bits == 8 ? cutaway_rows_eight_here : cutaway_rows_four_here, &matrix, rows, columns, depth, x.at, true)) return 1;
    for (ptrdiff_t i = 0; i < tiles * groups * 64 * bits; i++) codes.at[i] = (uint8_t)(127.5f * drawn() + 127.5f);  // also −128
    cutaway_product_rounded_here(rows, columns, depth, x.at, codes.at, scales.at, 1, NULL, out.at, bits, 2);
    if (depth % 2) return 0;  // what fills up a pair is zero, and was drawn here
    const struct halves half_matrix = {halves.at, bias.at, depth, columns};
    if (parted(cutaway_rows_halves_here, &half_matrix, rows, columns, depth, x.at, false)) return 1;
    cutaway_product_halves_here(rows, columns, depth, x.at, halves.at, bias.at, out.at, 2);
    for (ptrdiff_t r = 0; r < rows; r++) {
        cutaway_product_halves_here(1, columns, depth, x.at + r * depth, halves.at, bias.at, one.at, 1);
        if (differs(one.at, out.at + r * columns, columns)) return 1;
    }
    return 0;
}

int main() {
    const ptrdiff_t all[] = {1, 2, 3, 8, 9, 14}, columns[] = {1, 7, 16, 35}, depths[] = {1, 2, 31, 32, 66};
    for (ptrdiff_t rows : all)
        for (ptrdiff_t wide : columns)
            for (ptrdiff_t depth : depths)
                for (int bits = 4; bits <= 8; bits += 4)
                    if (check(rows, wide, depth, bits)) return 1;
    printf("sound\n");
    return 0;
}
