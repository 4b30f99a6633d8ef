"""The elementary functions of vmath.h over arrays, so that tests can hold them against mpmath in every build."""

include "common.pxi"

cdef extern from "vmath.h" nogil:
    double vm_exp(double x)
    double vm_log(double x)
    double vm_log1p(double x)
    double vm_expm1(double x)
    double vm_mills(double x)
    double vm_log1p_unit(double x, double *reciprocal)
    void vm_sincos2pi(double u, double *sine, double *cosine)
    double vm_from_uint64(uint64_t u)


def evaluate(str name, const double[::1] x, double[::1] out):
    """One function of x at every element: exp, log, log1p, expm1, mills, log1p_unit, sin2pi or cos2pi."""
    cdef Py_ssize_t n = x.shape[0], i
    cdef double other
    if name == "exp":
        for i in range(n):
            out[i] = vm_exp(x[i])
    elif name == "log":
        for i in range(n):
            out[i] = vm_log(x[i])
    elif name == "log1p":
        for i in range(n):
            out[i] = vm_log1p(x[i])
    elif name == "expm1":
        for i in range(n):
            out[i] = vm_expm1(x[i])
    elif name == "mills":
        for i in range(n):
            out[i] = vm_mills(x[i])
    elif name == "log1p_unit":
        for i in range(n):
            out[i] = vm_log1p_unit(x[i], &other)
    elif name == "sin2pi":
        for i in range(n):
            vm_sincos2pi(x[i], &out[i], &other)
    elif name == "cos2pi":
        for i in range(n):
            vm_sincos2pi(x[i], &other, &out[i])
    else:
        raise ValueError(f"unknown function {name!r}")


def from_uint64(const uint64_t[::1] x, double[::1] out):
    """64-bit integers as doubles, correctly rounded."""
    cdef Py_ssize_t i
    for i in range(x.shape[0]):
        out[i] = vm_from_uint64(x[i])
