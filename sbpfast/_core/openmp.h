/* Whether this build has threads, and whose. */
#pragma once
#ifdef _OPENMP
#define SBP_OPENMP _OPENMP
#else
#define SBP_OPENMP 0
#endif
#ifdef SBP_POOL
#define SBP_OWN_THREADS 1
#else
#define SBP_OWN_THREADS 0
#endif
