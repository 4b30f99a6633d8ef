/* Which instruction sets the processor has *and* the operating system saves: cpuid, then xgetbv. */
#pragma once
#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>

static inline unsigned long long cpu_xgetbv(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((unsigned long long)high << 32) | low;
}

/* 0 baseline, 1 AVX2 + FMA, 2 AVX-512 F, DQ, BW, VL as well. */
static inline int cpu_level(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const int fma = (c >> 12) & 1, osxsave = (c >> 27) & 1, avx = (c >> 28) & 1;
    if (!fma || !osxsave || !avx) return 0;
    const unsigned long long saved = cpu_xgetbv();
    if ((saved & 0x6) != 0x6) return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !((b >> 5) & 1)) return 0;
    const int f = (b >> 16) & 1, dq = (b >> 17) & 1, bw = (b >> 30) & 1, vl = (b >> 31) & 1;
    return (f && dq && bw && vl && (saved & 0xe6) == 0xe6) ? 2 : 1;
}
#else
static inline int cpu_level(void) { return 0; }
#endif
