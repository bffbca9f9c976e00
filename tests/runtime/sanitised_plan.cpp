// A plan with every operation, over ragged sizes, in memory that ends where the vectors end; to be compiled with the sanitizers.
// Whatever the number of threads, and however many tokens stand in a pass, every bit of the result must be the same.
#include <memory>
#include <stdio.h>
#include <vector>

#include "plan.cpp"

static uint32_t state = 1;
static float drawn() { return (int32_t)(state = state * 1664525u + 1013904223u) / 2147483648.0f; }

static std::vector<std::unique_ptr<float[]>> rooms;
static float *empty(ptrdiff_t count) {
    rooms.emplace_back(new float[count]);
    for (ptrdiff_t i = 0; i < count; i++) rooms.back()[i] = NAN;
    return rooms.back().get();
}
static float *room(ptrdiff_t count) {
    float *const made = empty(count);
    for (ptrdiff_t i = 0; i < count; i++) made[i] = drawn();
    return made;
}

enum { WIDTH = 21, HEADS_ = 3, KV = 1, HEAD = 7, PAIRS = 3, HIDDEN = 33, VOCAB = 37, CAPACITY = 11, LAYERS = 2, FAR = 4 };

struct plan {
    std::vector<op> ops;
    std::vector<dense> matrices;
    int threads;
    ptrdiff_t tokens;

    place shared(ptrdiff_t size) { return {empty(size * tokens), 0, size}; }
    place own(ptrdiff_t size) { return {empty(size * tokens * threads), size * tokens, size}; }
    op &next(int kind, place out, ptrdiff_t size, place a = {}, place b = {}, place c = {}) {
        ops.push_back(op{});
        op &o = ops.back();
        o.kind = kind, o.out = out, o.size = size, o.a = a, o.b = b, o.c = c, o.count = 1, o.waits = 1;
        return o;
    }
    place product(place x, ptrdiff_t depth, ptrdiff_t columns, place out) {
        matrices.push_back({room(columns * depth), room(columns), depth, columns});
        op &o = next(PRODUCT, out, columns, x);
        o.wholes[0] = AT_ONCE, o.more = &matrices.back(), o.rows = PUBLIC(rows_dense), o.is_shared = 1;
        return out;
    }
    place by_number_of(int kind, place a, place b, ptrdiff_t size, int variant = 0, float one = 0, float other = 0) {
        place out = own(size);
        op &o = next(kind, out, size, a, b);
        o.variant = variant, o.numbers[0] = one, o.numbers[1] = other;
        return out;
    }
    place turned(place x, place at_angles, int heads, int is_interleaved) {
        place out = own(heads * HEAD);
        op &o = next(ROTATE, out, HEAD, x, at_angles);
        o.count = heads, o.variant = is_interleaved, o.wholes[0] = PAIRS;
        return out;
    }
};

static void record(plan &p, int bias, int window) {
    p.matrices.reserve(16);
    place x = p.own(WIDTH), positions = p.own(WIDTH);
    op &token = p.next(LOOK_UP, x, WIDTH);
    token.weight = room(VOCAB * WIDTH), token.numbers[0] = 2;
    op &position = p.next(LOOK_UP, positions, WIDTH);
    position.weight = room((CAPACITY + 2) * WIDTH), position.numbers[0] = 1, position.variant = 1, position.wholes[0] = 2;
    x = p.by_number_of(ADD, x, positions, WIDTH);
    place normed = p.own(WIDTH);
    op &norm = p.next(LAYER_NORM, normed, WIDTH, x);
    norm.weight = room(WIDTH), norm.bias = room(WIDTH), norm.numbers[0] = 1e-5f;
    place at_angles = p.own(2 * PAIRS);
    op &turning = p.next(ANGLES, at_angles, PAIRS);
    turning.weight = room(PAIRS), turning.numbers[0] = 1;
    place q = p.turned(p.product(normed, WIDTH, HEADS_ * HEAD, p.shared(HEADS_ * HEAD)), at_angles, HEADS_, 0);
    place k = p.turned(p.product(normed, WIDTH, KV * HEAD, p.shared(KV * HEAD)), at_angles, KV, 1);
    place v = p.product(normed, WIDTH, KV * HEAD, p.shared(KV * HEAD)), mixed = p.shared(HEADS_ * HEAD);
    op &attending = p.next(ATTEND, mixed, HEAD, q, k, v);
    const ptrdiff_t wholes[] = {HEADS_, KV, LAYERS - 1, window, 1, FAR};
    memcpy(attending.wholes, wholes, sizeof wholes);
    attending.numbers[0] = 0.4f, attending.numbers[1] = window ? 1.5f : 0, attending.variant = bias;
    attending.bias = room(bias == BUCKETS ? 3 * HEADS_ : HEADS_);
    static const int32_t buckets[2 * FAR + 1] = {2, 2, 1, 1, 0, 0, 1, 1, 2};
    attending.more = buckets;
    x = p.by_number_of(ADD, x, p.product(mixed, HEADS_ * HEAD, WIDTH, p.shared(WIDTH)), WIDTH);
    place rooted = p.own(WIDTH);
    op &root = p.next(RMS_NORM, rooted, HEAD, x);
    root.count = WIDTH / HEAD, root.weight = room(HEAD), root.numbers[0] = 1e-5f, root.numbers[1] = 1;
    place active = p.product(rooted, WIDTH, HIDDEN, p.shared(HIDDEN));
    for (int variant = GELU; variant <= SILU; variant++) active = p.by_number_of(ACTIVATE, active, active, HIDDEN, variant);
    active = p.by_number_of(CLAMP, active, active, HIDDEN, 0, -0.5f, 0.5f);
    active = p.by_number_of(MULTIPLY, active, p.product(rooted, WIDTH, HIDDEN, p.shared(HIDDEN)), HIDDEN);
    x = p.by_number_of(ADD, x, p.product(active, HIDDEN, WIDTH, p.shared(WIDTH)), WIDTH);
    place logits = p.product(x, WIDTH, VOCAB, p.shared(VOCAB)), held = p.shared(VOCAB);
    p.next(TANH, held, VOCAB, logits).is_shared = 1;
    op &last = p.next(SCALE, {NULL, 0, VOCAB}, VOCAB, held);
    last.is_shared = 1, last.numbers[0] = 3;
}

enum { READ_BY_ONE, CAUSAL, PEERS };  // a token a pass; several, each seeing those before it; several that see each other

// Tokens of a pass that are no text: each sees the text before, and its neighbours by rank.
static void note_peers(int64_t *fields, ptrdiff_t start, ptrdiff_t count) {
    for (ptrdiff_t i = start; i < start + count; i++) {
        const int64_t values[FIELDS] = {1 << 30, start - 1, (i - start) / 2, i % 2, 0, i};
        for (int field = 0; field < FIELDS; field++) fields[field * CAPACITY + i] = values[field];
    }
}

static std::vector<float> computed(int bias, int window, int form, int threads, int how) {
    state = 1, rooms.clear();
    const ptrdiff_t size = LAYERS * 2 * KV * CAPACITY * HEAD, tokens = how == READ_BY_ONE ? 1 : 4;
    const int bytes_of[] = {4, 2, 1};  // of a number in each form
    std::unique_ptr<char[]> values(new char[size * bytes_of[form]]());
    std::unique_ptr<float[]> scales(new float[size / HEAD]());
    std::unique_ptr<int64_t[]> fields(new int64_t[FIELDS * CAPACITY]());
    plan p{{}, {}, threads, tokens};
    record(p, bias, window);
    std::vector<float> found;
    for (ptrdiff_t start = 0, count; start < CAPACITY; start += count) {
        count = CAPACITY - start < tokens ? CAPACITY - start : tokens;
        const ptrdiff_t read = how == READ_BY_ONE ? 0 : start % count, head = p.ops.size() - 3;
        std::unique_ptr<int64_t[]> ids(new int64_t[count]);
        std::unique_ptr<float[]> result(new float[(count - read) * VOCAB]);
        for (ptrdiff_t i = 0; i < count; i++) ids[i] = ((start + i) * 5) % VOCAB;
        if (how == PEERS) note_peers(fields.get(), start, count);
        const step now = {count, start, read, head, how != PEERS, CAPACITY, form, ids.get(), values.get(),
                          form == CODES ? scales.get() : NULL, fields.get(), result.get()};
        PUBLIC(replay)(p.ops.data(), p.ops.size(), &now, threads);
        found.insert(found.end(), read * VOCAB, 0.0f);
        found.insert(found.end(), result.get(), result.get() + (count - read) * VOCAB);
    }
    return found;
}

static int differs(int bias, int window, int form) {
    std::vector<float> one, some;
    for (int how = READ_BY_ONE; how <= PEERS; how++)
        for (int threads = 1; threads <= 3; threads++) {
            const std::vector<float> found = computed(bias, window, form, threads, how);
            for (float number : found)
                if (!(fabsf(number) <= 3)) return printf("%g is no logit\n", number);
            if (threads == 1) some = found;
            if (how == READ_BY_ONE && threads == 1) one = found;
            if (memcmp(some.data(), found.data(), found.size() * sizeof(float))) return printf("%d threads: other bits\n", threads);
            for (size_t i = 0; how == CAUSAL && i < found.size(); i++)
                if (found[i] != 0 && found[i] != one[i]) return printf("together: other bits\n");
            if (how == PEERS && !memcmp(one.data(), found.data(), found.size() * sizeof(float))) return printf("nobody sees ahead\n");
        }
    return 0;
}

int main() {
    for (int bias = NO_BIAS; bias <= BUCKETS; bias++)
        for (int window = 0; window <= 4; window += 4)
            for (int form = FULL; form <= CODES; form++)
                if (differs(bias, window, form)) return 1;
    puts("sound");
    return 0;
}
