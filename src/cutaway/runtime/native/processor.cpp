// Which further instructions this processor has, and its system lets it use. Compiled once, for the least of the sets.
#include "lanes.h"

// which: 0 is AVX-512 VNNI, 1 AVX-512 bf16. Answers 1 where all that the unit of that name was compiled for is there.
extern "C" __attribute__((visibility("default"))) int PUBLIC(has)(int which) {
    __builtin_cpu_init();
    const int is_base = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!is_base) return 0;
    return which == 0 ? !!__builtin_cpu_supports("avx512vnni") : which == 1 ? !!__builtin_cpu_supports("avx512bf16") : 0;
}
