"""Targets written in C, called on every point of a block without the GIL."""

from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_GetName, PyCapsule_GetPointer
from cython.parallel cimport prange
from libc.math cimport NAN
from libc.stdint cimport int64_t, intptr_t, uint64_t, uintptr_t
from sbpfast._core._platform cimport team_calls, team_of_the_package

cdef extern from "team.h" nogil:
    void team_use(const team_calls *calls)

team_use(team_of_the_package())

cdef extern from "<stdbool.h>":
    ctypedef bint c_bool "bool"

ctypedef double (*scalar_function)(const double *x, intptr_t d, void *user_data) noexcept nogil
ctypedef void (*array_function)(const double *x, intptr_t d, double *out, void *user_data) noexcept nogil

# value and gradient in one call; a status other than 0 says that they do not exist at x
ctypedef int (*pair_function)(const double *x, intptr_t d, double *value, double *grad, void *user_data) noexcept nogil
ctypedef int64_t (*nutpie_function)(uint64_t d, double *x, double *grad, double *value, void *user_data) noexcept nogil
ctypedef int (*stan_function)(const void *model, c_bool propto, c_bool jacobian, const double *x, double *value,
                              double *grad, char **error) noexcept nogil


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
    for s in prange(n, nogil=True, num_threads=n_threads, schedule="guided"):
        out[s] = f(&x[s, 0], x.shape[1], <void *> user_data)


def call_array(uintptr_t function, uintptr_t user_data, const double[:, ::1] x, double[:, ::1] out, int n_threads):
    """f(x[s], d, out[s], user_data) for every s."""
    cdef Py_ssize_t n = x.shape[0], s
    cdef array_function f = <array_function> function
    if n == 0:
        return
    for s in prange(n, nogil=True, num_threads=n_threads, schedule="guided"):
        f(&x[s, 0], x.shape[1], &out[s, 0], <void *> user_data)


def call_pair(str convention, uintptr_t function, uintptr_t user_data, const double[:, ::1] x, double[::1] value,
              double[:, ::1] grad, int n_threads):
    """Value and gradient at every x[s]; both are NaN where the function returns a status other than 0.

    `convention` says in which order the function takes its arguments: "plain", "nutpie" or "stan".
    """
    cdef Py_ssize_t n = x.shape[0], s, i
    cdef int order = {"plain": 0, "nutpie": 1, "stan": 2}[convention]
    cdef int64_t status
    if n == 0:
        return
    for s in prange(n, nogil=True, num_threads=n_threads, schedule="guided"):
        if order == 0:
            status = (<pair_function> function)(&x[s, 0], x.shape[1], &value[s], &grad[s, 0], <void *> user_data)
        elif order == 1:
            status = (<nutpie_function> function)(
                <uint64_t> x.shape[1], <double *> &x[s, 0], &grad[s, 0], &value[s], <void *> user_data)
        else:
            status = (<stan_function> function)(
                <const void *> user_data, False, True, &x[s, 0], &value[s], &grad[s, 0], NULL)
        if status != 0:
            value[s] = NAN
            for i in range(x.shape[1]):
                grad[s, i] = NAN
