# What every topic includes: index type, names of the C side, the rule for small work.

from cython.parallel cimport prange
from libc.stdint cimport uint64_t
import numpy as np

cdef extern from "panel.h" nogil:
    enum: LANES
    void panel_product(Py_ssize_t rows, Py_ssize_t lanes, Py_ssize_t depth, const double *a, Py_ssize_t row_stride,
                       Py_ssize_t k_stride, const double *x, Py_ssize_t x_stride, double *out, Py_ssize_t out_stride,
                       int add)
    double total "sum"(Py_ssize_t n, const double *a)


cdef inline int threads_for(double work, int n_threads) noexcept nogil:
    # below this many multiplications, some 50 microseconds, waking a second thread costs more than it saves
    return n_threads if work > 1000000.0 else 1


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return (a + b - 1) // b
