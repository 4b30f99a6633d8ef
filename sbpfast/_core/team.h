/* Loops shared out to threads, without OpenMP's run-time library.
 *
 * `prange` becomes `#pragma omp parallel` around `#pragma omp for schedule(guided)`, and GCC turns these into calls of
 * the functions at the end of this file.  Where SBP_POOL is defined the package supplies them itself (hidden: no
 * other library sees them) and hands them on to the pool of pool.h, which lives in `_platform` alone.  Otherwise they
 * are those of the compiler's own run-time library.
 */
#pragma once

typedef struct {
    void (*parallel)(void (*region)(void *), void *data, unsigned threads, long first, long last, long step);
    int (*start)(long first, long last, long step, long *from, long *to);
    int (*next)(long *from, long *to);
    int (*number)(void);
} team_calls;

#ifdef SBP_POOL
#include <stdbool.h>
static const team_calls *team_in_use;
static inline void team_use(const team_calls *calls) { team_in_use = calls; }

#pragma GCC visibility push(hidden)
void GOMP_parallel(void (*region)(void *), void *data, unsigned threads, unsigned flags);
void GOMP_parallel(void (*region)(void *), void *data, unsigned threads, unsigned flags) {
    (void)flags;
    team_in_use->parallel(region, data, threads, 0, 0, 1);
}

void GOMP_parallel_loop_nonmonotonic_guided(void (*region)(void *), void *data, unsigned threads, long first, long last,
                                            long step, long chunk, unsigned flags);
void GOMP_parallel_loop_nonmonotonic_guided(void (*region)(void *), void *data, unsigned threads, long first, long last,
                                            long step, long chunk, unsigned flags) {
    (void)chunk, (void)flags;
    team_in_use->parallel(region, data, threads, first, last, step);
}

bool GOMP_loop_nonmonotonic_guided_start(long first, long last, long step, long chunk, long *from, long *to);
bool GOMP_loop_nonmonotonic_guided_start(long first, long last, long step, long chunk, long *from, long *to) {
    (void)chunk;
    return team_in_use->start(first, last, step, from, to);
}

bool GOMP_loop_nonmonotonic_guided_next(long *from, long *to);
bool GOMP_loop_nonmonotonic_guided_next(long *from, long *to) { return team_in_use->next(from, to); }

/* a region is one loop, so what waits for all threads at its end is the end of the region */
void GOMP_loop_end(void);
void GOMP_loop_end(void) {}
void GOMP_loop_end_nowait(void);
void GOMP_loop_end_nowait(void) {}
void GOMP_barrier(void);
void GOMP_barrier(void) {}

int omp_get_thread_num(void);
int omp_get_thread_num(void) { return team_in_use->number(); }

/* what Cython writes for a number of threads that is not given; all of ours are */
int omp_get_max_threads(void);
int omp_get_max_threads(void) { return 1; }
#pragma GCC visibility pop
#else
static inline void team_use(const team_calls *calls) { (void)calls; }
#endif
