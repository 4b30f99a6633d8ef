"""What the machine offers: instruction sets and threads.  Built for the baseline, imported first."""

import math
import os
from numbers import Integral

cdef extern from "openmp.h" nogil:
    const int SBP_OPENMP
    const bint SBP_OWN_THREADS

cdef extern from "pool.h" nogil:
    const team_calls *pool_calls()

cdef extern from "cpu.h" nogil:
    int cpu_level()


OPENMP = SBP_OPENMP
"""The date of the OpenMP specification this build follows, as in 201511; 0 for a serial build."""


OWN_THREADS = bool(SBP_OWN_THREADS)
"""Whether loops run on the package's own threads, or on those of the compiler's OpenMP."""


cdef const team_calls *team_of_the_package() noexcept:
    return pool_calls()


def processor_isas():
    """The instruction sets this processor and operating system can run, from the least to the best."""
    return ("baseline", "avx2", "avx512")[: cpu_level() + 1]


def _cpu_quota():
    """Whole cores granted by the control group, or a large number where there is no quota."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        return max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no control groups, or "max": no quota
        return 1 << 30


def _environment():
    """The threads that OMP_NUM_THREADS asks for, or a large number where it says nothing."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return max(1, int(first)) if first.isdecimal() else 1 << 30


def _processors():
    """The processors that the affinity mask of this thread leaves."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


cdef Py_ssize_t _LIMIT = min(_environment(), _cpu_quota(), 1024)
cdef bint _FORKED = False


def _after_fork_in_child():
    # the threads of libgomp do not survive a fork, and its next parallel region would wait for them for ever
    global _FORKED
    _FORKED = not SBP_OWN_THREADS


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def effective_threads(n_threads=None):
    """The number of threads a call with this ``n_threads`` uses.

    None means every usable core: OMP_NUM_THREADS at import, the affinity mask and the control group's quota,
    whichever is least.  On OpenMP's own threads, a forked child always gets 1.
    """
    if n_threads is None:
        return 1 if _FORKED or not SBP_OPENMP else min(_LIMIT, <Py_ssize_t> _processors())
    if isinstance(n_threads, bool) or not isinstance(n_threads, Integral):
        raise TypeError(f"n_threads must be None or an integer, got {type(n_threads).__name__}")
    if n_threads < 1:
        raise ValueError(f"n_threads must be at least 1, got {n_threads}")
    return 1 if _FORKED or not SBP_OPENMP else min(int(n_threads), 1024)
