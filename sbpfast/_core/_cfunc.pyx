"""Targets written in C, called on every point of a block without the GIL."""

from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_GetName, PyCapsule_GetPointer
from cython.parallel cimport prange
from libc.stdint cimport intptr_t, uintptr_t

ctypedef double (*scalar_function)(const double *x, intptr_t d, void *user_data) noexcept nogil
ctypedef void (*array_function)(const double *x, intptr_t d, double *out, void *user_data) noexcept nogil


def capsule_addresses(capsule):
    """The function pointer and the user data of a PyCapsule, as integers, and its signature."""
    cdef const char *name = PyCapsule_GetName(capsule)
    function = <uintptr_t> PyCapsule_GetPointer(capsule, name)
    return function, <uintptr_t> PyCapsule_GetContext(capsule), None if name == NULL else name.decode()


def call_scalar(uintptr_t function, uintptr_t user_data, const double[:, ::1] x, double[::1] out, int n_threads):
    """out[s] = f(x[s], d, user_data)."""
    cdef Py_ssize_t n = x.shape[0], s
    cdef scalar_function f = <scalar_function> function
    if n == 0:
        return
    for s in prange(n, nogil=True, num_threads=n_threads, schedule="static"):
        out[s] = f(&x[s, 0], x.shape[1], <void *> user_data)


def call_array(uintptr_t function, uintptr_t user_data, const double[:, ::1] x, double[:, ::1] out, int n_threads):
    """f(x[s], d, out[s], user_data) for every s."""
    cdef Py_ssize_t n = x.shape[0], s
    cdef array_function f = <array_function> function
    if n == 0:
        return
    for s in prange(n, nogil=True, num_threads=n_threads, schedule="static"):
        f(&x[s, 0], x.shape[1], &out[s, 0], <void *> user_data)
