// Numbers that change lanes: sums over the lanes of several vectors at once, in fewer steps than one after another takes; columns of rows.
#pragma once
#include <utility>

#include "lanes.h"

// The numbers at these places of two vectors, those of b counted from LANES.
#ifdef __clang__
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (integers){__VA_ARGS__})
#endif

// Lane i: of a where the bit STEP of i is 0, of b where it is 1, the number there and the one STEP lanes off.
template <int STEP, int... LANE>
INLINE vector fold(vector a, vector b, std::integer_sequence<int, LANE...>) {
    return PICK(a, b, ((LANE & STEP) ? LANES + LANE : LANE)...) + PICK(a, b, ((LANE & STEP) ? LANES + (LANE ^ STEP) : (LANE ^ STEP))...);
}

// Lane i: the sum of x[i], of LANES vectors, which are overwritten.
template <int STEP = 1>
INLINE vector sums_of(vector *x) {
    if constexpr (STEP == LANES) {
        return x[0];
    } else {
        for (int i = 0; i < LANES / STEP / 2; i++) x[i] = fold<STEP>(x[2 * i], x[2 * i + 1], std::make_integer_sequence<int, LANES>());
        return sums_of<2 * STEP>(x);
    }
}

// Lane i: x[i] and what lies STEP, 2 · STEP … lanes off.
template <int STEP, int... LANE>
INLINE vector across(vector x, std::integer_sequence<int, LANE...> lanes) {
    if constexpr (STEP >= LANES)
        return x;
    else
        return across<2 * STEP>(x + PICK(x, x, (LANE ^ STEP)...), lanes);
}

// Lanes 0 … 3: the sums of four vectors, added up in the order of `sums_of`.
INLINE vector sums_of_four(const vector *x) {
    constexpr auto lanes = std::make_integer_sequence<int, LANES>();
    return across<4>(fold<2>(fold<1>(x[0], x[1], lanes), fold<1>(x[2], x[3], lanes), lanes), lanes);
}

// What stands STEP lanes off in the one and in the other changes places, so that a block of rows is turned bit by bit.
template <int STEP, int... LANE>
INLINE void exchange(vector &a, vector &b, std::integer_sequence<int, LANE...>) {
    const vector x = a, y = b;
    a = PICK(x, y, ((LANE & STEP) ? LANES + (LANE ^ STEP) : LANE)...);
    b = PICK(x, y, ((LANE & STEP) ? LANES + LANE : (LANE ^ STEP))...);
}

// x[i][j] becomes x[j][i].
template <int STEP = 1>
INLINE void transpose(vector *x) {
    if constexpr (STEP < LANES) {
        for (int i = 0; i < LANES; i++)
            if (!(i & STEP)) exchange<STEP>(x[i], x[i | STEP], std::make_integer_sequence<int, LANES>());
        transpose<2 * STEP>(x);
    }
}
