// Whether this processor has the further instructions, and its system lets it use them. Compiled once, for the least of the sets.
#include "lanes.h"

// AVX-512 with VNNI: all that the unit of that name was compiled for.
extern "C" __attribute__((visibility("default"))) int PUBLIC(has_vnni)() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}
