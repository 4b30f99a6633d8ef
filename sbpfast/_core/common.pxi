# What every topic includes: index type, names of the C side, the rules for small and for long work.

from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport prange
from libc.stdint cimport uint64_t
from sbpfast._core._platform cimport team_calls, team_of_the_package
import numpy as np

cdef extern from "team.h" nogil:
    void team_use(const team_calls *calls)

team_use(team_of_the_package())

cdef extern from "panel.h" nogil:
    enum: LANES
    void panel_product(Py_ssize_t rows, Py_ssize_t lanes, Py_ssize_t depth, const double *a, Py_ssize_t row_stride,
                       Py_ssize_t k_stride, const double *x, Py_ssize_t x_stride, double *out, Py_ssize_t out_stride,
                       int add)
    double total "sum"(Py_ssize_t n, const double *a)


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b


cdef inline int threads_for(double work, int n_threads) noexcept nogil:
    # below this many multiplications, some 50 microseconds, waking a second thread costs more than it saves
    return n_threads if work > 1000000.0 else 1


cdef inline Py_ssize_t stretch_of(double work, Py_ssize_t tasks, int threads) noexcept nogil:
    # How many of the tasks, of so many multiplications in all, are done between two looks for a signal: about 20
    # milliseconds of the widest vectors, 0.1 seconds of the narrowest, so that Ctrl-C is answered at once.  The tasks
    # do not know of each other, so where they are cut changes no bit.
    if work <= 3e8:
        return max(1, tasks)
    return ceil_div(max(1, <Py_ssize_t> (3e8 * min(threads, 8) / work * tasks)), threads) * threads


cdef inline Py_ssize_t end_of(Py_ssize_t part, Py_ssize_t step, Py_ssize_t tasks) noexcept nogil:
    return min(tasks, (part + 1) * step)
