/* The only file that names OpenMP's run-time library; a serial build sees the stand-ins. */
#pragma once
#ifdef _OPENMP
#include <omp.h>
#define SBP_OPENMP _OPENMP
#else
#define SBP_OPENMP 0
static inline int omp_get_max_threads(void) { return 1; }
static inline int omp_get_num_procs(void) { return 1; }
#endif
