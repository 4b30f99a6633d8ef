/* The package's threads.
 *
 * The caller of a loop takes pieces of it by an atomic counter, and so does every worker that comes in time.  The
 * caller waits for pieces that were taken, never for a worker that took none: one that still sleeps, or whose core
 * is busy with another process, holds up nothing.  Pieces become smaller towards the end.  A worker without work looks
 * for more for a fifth of a millisecond, yielding its core to whoever wants it, and then sleeps.  Schedulers like to
 * wake it on the core that woke it, where it would only take turns with the caller: a worker there steps aside.
 *
 * One caller at a time has the workers; others, and loops inside loops, run on their own thread.  A forked child starts
 * workers of its own.
 */
#pragma once
#include "team.h"
#ifdef SBP_POOL
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { MOST_WORKERS = 1023, PIECES = 4 };  /* a piece is a fourth of every thread's share of what is left */
static const long LOOK = 200000;           /* nanoseconds that a worker looks for work before it sleeps */
static const long SPIN = 20000;            /* nanoseconds before it yields between looks */
static const long PATIENCE = 50000;        /* nanoseconds that a caller looks for the last pieces before it sleeps */

typedef struct {
    void (*region)(void *);
    void *data;
    _Atomic int threads;
    _Atomic long given;  /* iterations that somebody took */
    long first, step, count;
} pool_job;

typedef struct {
    pool_job *job;
    int number;
    long first, step, count;
} pool_member;

static _Thread_local pool_member here;

/* Who may come in: the number of the job, whether it is open, and how many workers are inside, in one word */
#define INSIDE UINT64_C(0x7fff)
#define OPEN UINT64_C(0x8000)
#define JOB (INSIDE + OPEN + 1)

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
    _Atomic int taken, asleep, waiting;
    _Atomic uint64_t gate;
    _Atomic int core;  /* that the caller was seen on, -1 where nobody can say */
    int workers;
    pool_job job;
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static void pool_after_fork(void) {
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.work, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.taken = pool.asleep = pool.waiting = 0;
    pool.gate = 0;
    pool.workers = 0;
}

static inline void pool_pause(void) {
    for (int i = 0; i < 16; i++) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#else
        atomic_signal_fence(memory_order_seq_cst);
#endif
    }
}

#ifdef __linux__
static inline int pool_core(void) { return sched_getcpu(); }

/* To another core where this worker shares the caller's; its affinity is the process's again afterwards */
static void pool_step_aside(void) {
    cpu_set_t allowed, others;
    const int core = atomic_load(&pool.core);
    if (core < 0 || core >= CPU_SETSIZE || pool_core() != core) return;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    others = allowed;
    CPU_CLR(core, &others);
    if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return;
    sched_setaffinity(0, sizeof allowed, &allowed);
}
#else
static inline int pool_core(void) { return -1; }
static void pool_step_aside(void) {}
#endif

static inline long pool_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

/* -- a loop, as its threads see it -------------------------------------------------------------------------------- */

static int pool_next(long *from, long *to) {
    pool_job *job = here.job;
    long given = atomic_load(&job->given), size;
    do {
        if (given >= here.count) return 0;
        size = job->threads == 1 ? here.count : (here.count - given) / (PIECES * job->threads);
        if (size < 1) size = 1;
    } while (!atomic_compare_exchange_weak(&job->given, &given, given + size));
    *from = here.first + given * here.step;
    *to = *from + size * here.step;
    return 1;
}

static inline long pool_count(long first, long last, long step) {
    return (last - first + step - (step > 0 ? 1 : -1)) / step;
}

static int pool_start(long first, long last, long step, long *from, long *to) {
    here.first = first;
    here.step = step;
    here.count = pool_count(first, last, step);
    return pool_next(from, to);
}

static int pool_number(void) { return here.job ? here.number : 0; }

static void pool_take_part(pool_job *job, int number) {
    pool_member before = here;
    here = (pool_member){job, number, job->first, job->step, job->count};
    job->region(job->data);
    here = before;
}

/* -- the workers -------------------------------------------------------------------------------------------------- */

static int pool_has_news(uint64_t served) {
    uint64_t gate = atomic_load(&pool.gate);
    return (gate & OPEN) && gate / JOB != served;
}

static void pool_await_news(uint64_t served) {
    long start = pool_now(), waited = 0;
    while (waited < LOOK) {
        pool_pause();
        if (pool_has_news(served)) return;
        waited = pool_now() - start;
        if (waited > SPIN) {
            pool_step_aside();
            sched_yield();
        }
    }
    pthread_mutex_lock(&pool.mutex);
    atomic_fetch_add(&pool.asleep, 1);
    while (!pool_has_news(served)) pthread_cond_wait(&pool.work, &pool.mutex);
    atomic_fetch_sub(&pool.asleep, 1);
    pthread_mutex_unlock(&pool.mutex);
    pool_step_aside();
}

/* The number this thread has in the job of the gate, or 0 where that is closed or has all its threads */
static int pool_enter(uint64_t *served) {
    uint64_t gate = atomic_load(&pool.gate);
    do {
        if (!(gate & OPEN)) return 0;
        *served = gate / JOB;
        if ((int)(gate & INSIDE) >= pool.job.threads - 1) return 0;
    } while (!atomic_compare_exchange_weak(&pool.gate, &gate, gate + 1));
    return (int)(gate & INSIDE) + 1;
}

static void pool_leave(void) {
    uint64_t left = atomic_fetch_sub(&pool.gate, 1) - 1;
    if ((left & (OPEN | INSIDE)) || !atomic_load(&pool.waiting)) return;
    pthread_mutex_lock(&pool.mutex);
    pthread_cond_signal(&pool.done);
    pthread_mutex_unlock(&pool.mutex);
}

static void *pool_worker(void *unused) {
    uint64_t served = 0;
    for (;;) {
        pool_await_news(served);
        int number = pool_enter(&served);
        if (number == 0) continue;
        pool_take_part(&pool.job, number);
        pool_leave();
    }
    return unused;
}

/* As many workers as are asked for, or as many as the system grants; signals go to Python's own threads */
static void pool_hire(int workers) {
    sigset_t all, before;
    pthread_attr_t detached;
    pthread_t thread;
    if (pool.workers >= workers) return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&detached, (size_t)1 << 23);
    while (pool.workers < workers && pthread_create(&thread, &detached, pool_worker, NULL) == 0) pool.workers++;
    pthread_attr_destroy(&detached);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* -- the caller --------------------------------------------------------------------------------------------------- */

static void pool_open(int workers) {
    atomic_store(&pool.core, pool_core());
    atomic_store(&pool.gate, (atomic_load(&pool.gate) / JOB + 1) * JOB + OPEN);
    if (!atomic_load(&pool.asleep)) return;
    pthread_mutex_lock(&pool.mutex);
    for (int i = 0; i < workers; i++) pthread_cond_signal(&pool.work);
    pthread_mutex_unlock(&pool.mutex);
}

static void pool_close(void) {
    long start = pool_now(), waited = 0;
    atomic_fetch_and(&pool.gate, ~OPEN);
    while (atomic_load(&pool.gate) & INSIDE) {
        pool_pause();
        waited = pool_now() - start;
        if (waited > PATIENCE) break;
        if (waited > SPIN) sched_yield();
    }
    if (!(atomic_load(&pool.gate) & INSIDE)) return;
    pthread_mutex_lock(&pool.mutex);
    atomic_store(&pool.waiting, 1);
    while (atomic_load(&pool.gate) & INSIDE) pthread_cond_wait(&pool.done, &pool.mutex);
    atomic_store(&pool.waiting, 0);
    pthread_mutex_unlock(&pool.mutex);
}

static void pool_parallel(void (*region)(void *), void *data, unsigned threads, long first, long last, long step) {
    long count = pool_count(first, last, step);
    int nobody = 0;
    if (threads <= 1 || here.job || !atomic_compare_exchange_strong(&pool.taken, &nobody, 1)) {
        pool_job alone = {region, data, 1, 0, first, step, count};
        pool_take_part(&alone, 0);
        return;
    }
    int workers = threads <= MOST_WORKERS ? (int)threads - 1 : MOST_WORKERS;
    pool_hire(workers);
    pool.job.region = region;
    pool.job.data = data;
    pool.job.first = first;
    pool.job.step = step;
    pool.job.count = count;
    atomic_store(&pool.job.threads, workers + 1);
    atomic_store(&pool.job.given, 0);
    pool_open(workers);
    pool_take_part(&pool.job, 0);
    pool_close();
    atomic_store(&pool.taken, 0);
}

static const team_calls POOL = {pool_parallel, pool_start, pool_next, pool_number};

static const team_calls *pool_calls(void) {
    static _Atomic int registered;
    if (!atomic_exchange(&registered, 1)) pthread_atfork(NULL, NULL, pool_after_fork);
    return &POOL;
}
#else
static const team_calls *pool_calls(void) { return NULL; }
#endif
