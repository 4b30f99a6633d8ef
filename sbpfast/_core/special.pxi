"""NumPy ufuncs over the kernels: gammainc_da, betainc_da, betainc_db."""

cimport numpy as cnp

cdef extern from "special.h" nogil:
    enum: BLOCK
    void gammainc_da_block(Py_ssize_t n, double *a, double *x, double *out)
    void betainc_block(Py_ssize_t n, int which, double *a, double *b, double *x, double *out)

cdef extern from "<fenv.h>" nogil:
    int FE_ALL_EXCEPT
    int feclearexcept(int excepts)

cnp.import_array()
cnp.import_ufunc()

ctypedef fused floating:
    float
    double

ctypedef void *pointer

# what a loop is told by its data pointer
cdef enum:
    GAMMAINC_DA = 0
    BETAINC_DA = 1
    BETAINC_DB = 2
cdef int[3] FUNCTIONS = [GAMMAINC_DA, BETAINC_DA, BETAINC_DB]


cdef inline void _gather(const char *source, Py_ssize_t step, Py_ssize_t n, double *to, floating kind) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        to[i] = (<const floating *> (source + i * step))[0]


cdef void _loop(char **args, const cnp.npy_intp *dimensions, const cnp.npy_intp *steps, int function,
                floating kind) noexcept nogil:
    # strided input of any alignment that NumPy passes, in blocks
    cdef double[3][BLOCK] columns
    cdef double[BLOCK] result
    cdef Py_ssize_t n = dimensions[0], block, start, count, i, c, inputs = 2 if function == GAMMAINC_DA else 3
    for block in range((n + BLOCK - 1) // BLOCK):
        start = block * BLOCK
        count = min(BLOCK, n - start)
        for c in range(inputs):
            _gather(args[c] + start * steps[c], steps[c], count, columns[c], kind)
        if function == GAMMAINC_DA:
            gammainc_da_block(count, columns[0], columns[1], result)
        else:
            betainc_block(count, function == BETAINC_DB, columns[0], columns[1], columns[2], result)
        for i in range(count):
            (<floating *> (args[inputs] + (start + i) * steps[inputs]))[0] = <floating> result[i]
    # branch-free code computes both sides of every choice: the flags say nothing about the results
    feclearexcept(FE_ALL_EXCEPT)


cdef void _loop_double(char **args, const cnp.npy_intp *dimensions, const cnp.npy_intp *steps,
                       void *data) noexcept nogil:
    _loop(args, dimensions, steps, (<int *> data)[0], <double> 0)


cdef void _loop_float(char **args, const cnp.npy_intp *dimensions, const cnp.npy_intp *steps,
                      void *data) noexcept nogil:
    _loop(args, dimensions, steps, (<int *> data)[0], <float> 0)


# NumPy keeps these pointers for the life of the process
cdef cnp.PyUFuncGenericFunction[2] LOOPS = [<cnp.PyUFuncGenericFunction> _loop_float,
                                            <cnp.PyUFuncGenericFunction> _loop_double]
cdef char[8] TYPES = [cnp.NPY_FLOAT, cnp.NPY_FLOAT, cnp.NPY_FLOAT, cnp.NPY_FLOAT,
                      cnp.NPY_DOUBLE, cnp.NPY_DOUBLE, cnp.NPY_DOUBLE, cnp.NPY_DOUBLE]
cdef char[6] TYPES_OF_TWO = [cnp.NPY_FLOAT, cnp.NPY_FLOAT, cnp.NPY_FLOAT,
                             cnp.NPY_DOUBLE, cnp.NPY_DOUBLE, cnp.NPY_DOUBLE]
cdef pointer[2] GAMMAINC_DA_DATA = [&FUNCTIONS[0], &FUNCTIONS[0]]
cdef pointer[2] BETAINC_DA_DATA = [&FUNCTIONS[1], &FUNCTIONS[1]]
cdef pointer[2] BETAINC_DB_DATA = [&FUNCTIONS[2], &FUNCTIONS[2]]

gammainc_da = cnp.PyUFunc_FromFuncAndData(LOOPS, GAMMAINC_DA_DATA, TYPES_OF_TWO, 2, 2, 1, cnp.PyUFunc_None,
                                          b"gammainc_da", b"""gammainc_da(a, x)

Derivative of the regularised lower incomplete gamma function P(a, x) with respect to a.

Equal to minus the gamma density times its transport weight.  Relative error below 1e-12 for a from 1e-3 to 1e6 while
the value is a normal number; 0 at x = 0 and at x = inf.

Parameters
----------
a : array_like
    Shape, positive and finite; NaN elsewhere.
x : array_like
    Argument, x >= 0; NaN elsewhere.
out, where, **kwargs
    As for every ufunc.

Returns
-------
ndarray or scalar
    dP/da <= 0, float32 if every argument is float32, else float64.
""", 0)

betainc_da = cnp.PyUFunc_FromFuncAndData(LOOPS, BETAINC_DA_DATA, TYPES, 2, 3, 1, cnp.PyUFunc_None,
                                         b"betainc_da", b"""betainc_da(a, b, x)

Derivative of the regularised incomplete beta function I_x(a, b) with respect to a.

Equal to minus the beta density times its transport weight.  0 at x = 0 and at x = 1.

Parameters
----------
a, b : array_like
    Shapes, positive and finite; NaN elsewhere.
x : array_like
    Argument, 0 <= x <= 1; NaN elsewhere.
out, where, **kwargs
    As for every ufunc.

Returns
-------
ndarray or scalar
    dI/da <= 0, float32 if every argument is float32, else float64.
""", 0)

betainc_db = cnp.PyUFunc_FromFuncAndData(LOOPS, BETAINC_DB_DATA, TYPES, 2, 3, 1, cnp.PyUFunc_None,
                                         b"betainc_db", b"""betainc_db(a, b, x)

Derivative of the regularised incomplete beta function I_x(a, b) with respect to b.

Equal to -betainc_da(b, a, 1 - x) with 1 - x exact.  0 at x = 0 and at x = 1.

Parameters
----------
a, b : array_like
    Shapes, positive and finite; NaN elsewhere.
x : array_like
    Argument, 0 <= x <= 1; NaN elsewhere.
out, where, **kwargs
    As for every ufunc.

Returns
-------
ndarray or scalar
    dI/db >= 0, float32 if every argument is float32, else float64.
""", 0)
