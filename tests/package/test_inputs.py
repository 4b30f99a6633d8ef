"""Bad input is refused before any work, by an error that names the argument; good input is never modified."""

import numpy as np
import pytest
import scipy.sparse

import sbpfast as sb

T = sb.targets
D, N = 3, 8
RNG = np.random.default_rng(0)
MEAN, X, BINARY = RNG.standard_normal(D), RNG.standard_normal((N, D)), np.arange(N) % 2
COV = np.eye(D) + 0.2
CHOL = np.linalg.cholesky(COV)
NAN, INF = np.full(D, np.nan), np.array([0.0, np.inf, 1.0])
ASYMMETRIC = COV + np.triu(np.full((D, D), 0.1), 1)
SINGULAR = np.ones((D, D))
F = T.logistic_regression(X, BINARY, prior_scale=1.0)
Q = sb.Gaussian(MEAN, COV)
NOT_FINITE = X.copy()
NOT_FINITE[2, 1] = np.nan


def spoiled(value=np.nan):
    a = COV.copy()
    a[0, 1] = a[1, 0] = value
    return a


BAD = {
    # distributions
    "Gaussian": [
        (lambda: sb.Gaussian(MEAN, -COV), ValueError, "cov must be positive definite"),
        (lambda: sb.Gaussian(MEAN, SINGULAR - 1e-3 * np.eye(D)), ValueError, "cov must be positive definite"),
        (lambda: sb.Gaussian(MEAN, np.zeros((D, D))), ValueError, "cov must be positive definite"),
        (lambda: sb.Gaussian(MEAN, ASYMMETRIC), ValueError, "cov must be symmetric"),
        (lambda: sb.Gaussian(MEAN, COV[:2]), ValueError, r"cov must have shape \(3, 3\), got \(2, 3\)"),
        (lambda: sb.Gaussian(MEAN, COV[0]), ValueError, "cov must have shape"),
        (lambda: sb.Gaussian(MEAN[None], COV), ValueError, "mean must have 1 dimension"),
        (lambda: sb.Gaussian(0.0, 1.0), ValueError, "mean must have 1 dimension"),
        (lambda: sb.Gaussian([], np.zeros((0, 0))), ValueError, "mean must have at least one"),
        (lambda: sb.Gaussian(NAN, COV), ValueError, "mean must be finite, got nan at index"),
        (lambda: sb.Gaussian(INF, COV), ValueError, r"mean must be finite, got inf at index \(1,\)"),
        (lambda: sb.Gaussian(MEAN, spoiled()), ValueError, "cov must be finite"),
        (lambda: sb.Gaussian(MEAN, spoiled(np.inf)), ValueError, "cov must be finite"),
        (lambda: sb.Gaussian(MEAN * 1j, COV), TypeError, "mean must hold real numbers, got dtype complex"),
        (lambda: sb.Gaussian(MEAN, COV.astype(object)), TypeError, "cov must hold real numbers"),
        (lambda: sb.Gaussian("mean", COV), TypeError, "mean must hold real numbers"),
        (lambda: sb.Gaussian(None, COV), TypeError, "mean must hold real numbers"),
        (lambda: sb.Gaussian([[1, 2], [3]], COV), ValueError, "mean"),
    ],
    "CholeskyGaussian": [
        (lambda: sb.CholeskyGaussian(MEAN, CHOL.T), ValueError, "chol must be lower triangular"),
        (lambda: sb.CholeskyGaussian(MEAN, -CHOL), ValueError, "chol must be positive"),
        (lambda: sb.CholeskyGaussian(MEAN, np.tril(CHOL, -1)), ValueError, "chol must be positive"),
        (lambda: sb.CholeskyGaussian(MEAN, CHOL[:, :2]), ValueError, "chol must have shape"),
        (lambda: sb.CholeskyGaussian(MEAN, CHOL * np.nan), ValueError, "chol must be finite"),
    ],
    "NaturalGaussian": [
        (lambda: sb.NaturalGaussian(MEAN, COV), ValueError, "eta2 must be positive definite"),
        (lambda: sb.NaturalGaussian(MEAN, -ASYMMETRIC), ValueError, "eta2 must be symmetric"),
        (lambda: sb.NaturalGaussian(MEAN[:2], -COV), ValueError, "eta2 must have shape"),
        (lambda: sb.NaturalGaussian(NAN, -COV), ValueError, "eta1 must be finite"),
        (lambda: sb.NaturalGaussian([], np.zeros((0, 0))), ValueError, "eta1|mean"),
    ],
    "DiagonalGaussian": [
        (lambda: sb.DiagonalGaussian(MEAN, [1.0, 0.0, 1.0]), ValueError, "std must be positive"),
        (lambda: sb.DiagonalGaussian(MEAN, [1.0, -1.0, 1.0]), ValueError, "std must be positive, got -1"),
        (lambda: sb.DiagonalGaussian(MEAN, np.ones(2)), ValueError, r"std must have shape \(3,\), got \(2,\)"),
        (lambda: sb.DiagonalGaussian(MEAN, COV), ValueError, "std must have shape"),
        (lambda: sb.DiagonalGaussian(MEAN, NAN), ValueError, "std must be finite"),
    ],
    "low rank": [
        (lambda: sb.LowRankGaussian(MEAN, [1.0, 0.0, 1.0], X[:3, :2]), ValueError, "diag must be positive"),
        (
            lambda: sb.LowRankPrecisionGaussian(MEAN, [1.0, -2.0, 1.0], X[:3, :2]),
            ValueError,
            "diag must be positive, got -2",
        ),
        (lambda: sb.LowRankGaussian(MEAN, np.ones(2), X[:3, :2]), ValueError, "diag must have shape"),
        (
            lambda: sb.LowRankGaussian(MEAN, np.ones(3), X[:2]),
            ValueError,
            r"factor must have shape \(3, n\), got \(2, 3\)",
        ),
        (lambda: sb.LowRankPrecisionGaussian(MEAN, np.ones(3), X[:3, 0]), ValueError, "factor must have shape"),
        (lambda: sb.LowRankPrecisionGaussian(MEAN, np.ones(3), NOT_FINITE[:3]), ValueError, "factor must be finite"),
    ],
    "methods of distributions": [
        (lambda: Q.sample(0), ValueError, "n must be at least 1"),
        (lambda: Q.sample(-3), ValueError, "n must be at least 1"),
        (lambda: Q.sample(2.0), TypeError, "n must be an integer"),
        (lambda: Q.sample(True), TypeError, "n must be an integer"),
        (lambda: Q.sample(3, rng="seed"), TypeError, "rng must be"),
        (lambda: Q.sample(3, rng=-1), ValueError, "rng must be"),
        (lambda: Q.sample(3, n_threads=0), ValueError, "n_threads must be at least 1"),
        (lambda: Q.sample(3, n_threads="2"), TypeError, "n_threads must be"),
        (lambda: Q.log_prob(MEAN), ValueError, r"x must have shape \(n, 3\), got \(3,\)"),
        (lambda: Q.log_prob(X[:, :2]), ValueError, "x must have shape"),
        (lambda: Q.log_prob(NOT_FINITE), ValueError, r"x must be finite, got nan at index \(2, 1\)"),
        (lambda: Q.kl(sb.Gaussian(MEAN[:2], COV[:2, :2])), ValueError, "other must have dimension 3, got 2"),
        (lambda: Q.kl(3.0), TypeError, "other must be a Gaussian, got float"),
    ],
    # targets
    "Target": [
        (lambda: sb.Target(dim=2), ValueError, "at least one of value, grad, hess"),
        (lambda: sb.Target(value=3.0, dim=2), TypeError, "value must be callable, got float"),
        (lambda: sb.Target(value=np.sin, hvp=[], dim=2), TypeError, "hvp must be callable"),
        (lambda: sb.Target(value=np.sin, dim=0), ValueError, "dim must be at least 1"),
        (lambda: sb.Target(value=np.sin, dim=2.0), TypeError, "dim must be an integer"),
        (lambda: sb.Target(value=np.sin), TypeError, "dim"),
        (lambda: F.value(MEAN), ValueError, "x must have shape"),
        (lambda: F.grad(NOT_FINITE), ValueError, "x must be finite"),
        (lambda: F.hess(X[:, :2]), ValueError, "x must have shape"),
        (lambda: F.hess_mean(X[:0]), ValueError, "x must hold at least one point"),
        (lambda: F.value(X + 0j), TypeError, "x must hold real numbers"),
        (lambda: F.hvp(X, NAN), ValueError, "v must be finite"),
        (lambda: F.hvp(X, X[:3]), ValueError, "v must have shape"),
    ],
    "quadratic": [
        (lambda: T.quadratic(ASYMMETRIC, MEAN), ValueError, "precision must be symmetric"),
        (lambda: T.quadratic(COV[:2, :2], MEAN), ValueError, "precision must"),
        (lambda: T.quadratic(COV[:2], MEAN), ValueError, "precision must"),
        (lambda: T.quadratic(np.ones(2), MEAN), ValueError, "precision must"),
        (lambda: T.quadratic(1.0, NAN), ValueError, "mean must be finite"),
        (lambda: T.quadratic(1.0, 0.0), ValueError, "mean must have 1 dimension"),
        (lambda: T.quadratic(1.0, MEAN, np.nan), ValueError, "constant must be finite"),
        (lambda: T.quadratic(1.0, MEAN, "0"), TypeError, "constant must be a real number"),
        (lambda: T.quadratic(1.0, []), ValueError, "mean"),
    ],
    "ridge": [
        (lambda: T.ridge(X, 0.0, "cubic"), ValueError, "link must be one of .*softplus.*got 'cubic'"),
        (lambda: T.ridge(X[0], 0.0, "exp"), ValueError, "a must have 2 dimension"),
        (lambda: T.ridge(NOT_FINITE, 0.0, "exp"), ValueError, "a must be finite"),
        (lambda: T.ridge(scipy.sparse.csr_array(NOT_FINITE), 0.0, "exp"), ValueError, "a must be finite"),
        (lambda: T.ridge(scipy.sparse.csr_array(X * 1j), 0.0, "exp"), TypeError, "a must hold real numbers"),
        (lambda: T.ridge(np.zeros((4, 0)), 0.0, "exp"), ValueError, "a must have at least one column"),
        (lambda: T.ridge(X, np.zeros(5), "exp"), ValueError, r"offset must have shape \(8,\), got \(5,\)"),
        (lambda: T.ridge(X, np.nan, "exp"), ValueError, "offset must be finite"),
        (lambda: T.ridge(X, 0.0, "exp", np.ones(5)), ValueError, "weights must have shape"),
        (lambda: T.ridge(X, 0.0, "exp", np.inf), ValueError, "weights must be finite"),
        (lambda: T.ridge(X, 0.0, "logistic", y=np.full(8, 1.5)), ValueError, r"y must be in \[0, 1\]"),
        (lambda: T.ridge(X, 0.0, "probit", y=np.full(8, 0.5)), ValueError, "y must be 0 or 1"),
        (lambda: T.ridge(X, 0.0, "square", y=np.zeros(7)), ValueError, "y must have shape"),
        (lambda: T.ridge(X, 0.0, "exp", quadratic=3.0), TypeError, "quadratic must be made by"),
        (lambda: T.ridge(X, 0.0, "exp", quadratic=F), TypeError, "quadratic must be made by"),
        (
            lambda: T.ridge(X, 0.0, "exp", quadratic=T.quadratic(1.0, np.zeros(2))),
            ValueError,
            "quadratic must have dimension 3",
        ),
        (lambda: T.ridge(X, 0.0, "student_t"), TypeError, "df.*scale"),
        (lambda: T.ridge(X, 0.0, "exp", df=3.0), TypeError, "takes the parameters"),
        (lambda: T.ridge(X, 0.0, "student_t", df=0.0, scale=1.0), ValueError, "df must be finite and above 0"),
        (lambda: T.ridge(X, 0.0, "student_t", df=2.0, scale=np.inf), ValueError, "scale must be finite"),
    ],
    "regressions": [
        (
            lambda: T.logistic_regression(X, BINARY[:-1], prior_scale=1.0),
            ValueError,
            r"y must have one entry for each of the 8 rows of X, got shape \(7,\)",
        ),
        (lambda: T.logistic_regression(X, BINARY[:, None], prior_scale=1.0), ValueError, "y must"),
        (lambda: T.logistic_regression(X, BINARY + 2, prior_scale=1.0), ValueError, "y must be 0 or 1, got 2"),
        (lambda: T.logistic_regression(X, 2 * BINARY - 1, prior_scale=1.0), ValueError, "y must be 0 or 1, got -1"),
        (lambda: T.logistic_regression(X, BINARY * np.nan, prior_scale=1.0), ValueError, "y must be finite"),
        (lambda: T.logistic_regression(X, BINARY.astype(str), prior_scale=1.0), TypeError, "y must hold real numbers"),
        (lambda: T.logistic_regression(X[0], BINARY, prior_scale=1.0), ValueError, "X must have 2 dimension"),
        (lambda: T.logistic_regression(NOT_FINITE, BINARY, prior_scale=1.0), ValueError, "X must be finite"),
        (lambda: T.logistic_regression(X, BINARY, prior_scale=0.0), ValueError, "prior_scale must be positive"),
        (lambda: T.logistic_regression(X, BINARY, prior_scale=-1.0), ValueError, "prior_scale must be positive"),
        (lambda: T.logistic_regression(X, BINARY, prior_scale=np.nan), ValueError, "prior_scale must be positive"),
        (lambda: T.logistic_regression(X, BINARY, prior_scale=[1.0, 2.0]), ValueError, "prior_scale must .*shape"),
        (lambda: T.logistic_regression(X, BINARY, prior_scale="wide"), TypeError, "prior_scale"),
        (lambda: T.logistic_regression(X, BINARY, prior_scale=1j), TypeError, "prior_scale"),
        (lambda: T.logistic_regression(X, BINARY, prior_scale=None), TypeError, "prior_scale"),
        (lambda: T.logistic_regression(X, BINARY), TypeError, "prior_scale"),
        (
            lambda: T.logistic_regression(X, BINARY, prior_scale=1.0, prior_mean=np.ones(2)),
            ValueError,
            "prior_mean must have shape",
        ),
        (
            lambda: T.logistic_regression(X, BINARY, prior_scale=1.0, prior_mean=np.inf),
            ValueError,
            "prior_mean must be finite",
        ),
        (
            lambda: T.logistic_regression(X, BINARY, prior_scale=1.0, offset=np.ones(3)),
            ValueError,
            "offset must have shape",
        ),
        (
            lambda: T.logistic_regression(X, BINARY, prior_scale=1.0, weights=-np.ones(8)),
            ValueError,
            "weights must not be negative",
        ),
        (
            lambda: T.logistic_regression(X, BINARY, prior_scale=1.0, weights=np.ones(7)),
            ValueError,
            "weights must have shape",
        ),
        (
            lambda: T.logistic_regression(X, BINARY, prior_scale=1.0, trials=np.full(8, 0.5)),
            ValueError,
            "trials must be whole numbers",
        ),
        (
            lambda: T.logistic_regression(X, BINARY, prior_scale=1.0, trials=np.zeros(8)),
            ValueError,
            "trials must be whole numbers",
        ),
        (
            lambda: T.logistic_regression(X, BINARY * 4, prior_scale=1.0, trials=np.full(8, 3)),
            ValueError,
            "y must be whole numbers between 0 and trials",
        ),
        (
            lambda: T.logistic_regression(X, BINARY * 0.5, prior_scale=1.0, trials=np.full(8, 3)),
            ValueError,
            "y must be whole numbers",
        ),
        (lambda: T.probit_regression(X, BINARY * 2, prior_scale=1.0), ValueError, "y must be 0 or 1"),
        (lambda: T.poisson_regression(X, BINARY - 1, prior_scale=1.0), ValueError, "y must be not negative"),
        (
            lambda: T.linear_regression(X, BINARY, noise_scale=0.0, prior_scale=1.0),
            ValueError,
            "noise_scale must be finite and above 0",
        ),
        (
            lambda: T.linear_regression(X, BINARY, noise_scale=np.ones(8), prior_scale=1.0),
            TypeError,
            "noise_scale must be a real number",
        ),
        (
            lambda: T.linear_regression(X, BINARY + np.inf, noise_scale=1.0, prior_scale=1.0),
            ValueError,
            "y must be finite",
        ),
        (
            lambda: T.student_t_regression(X, BINARY, df=-1.0, scale=1.0, prior_scale=1.0),
            ValueError,
            "df must be finite and above 0",
        ),
        (
            lambda: T.student_t_regression(X, BINARY, df=1.0, scale=0.0, prior_scale=1.0),
            ValueError,
            "scale must be finite and above 0",
        ),
    ],
    # the verb
    "expectation_grad": [
        (lambda: sb.expectation_grad(np.sin, Q), TypeError, "target must be a sbpfast.Target, got ufunc"),
        (lambda: sb.expectation_grad(F, MEAN), TypeError, "distribution must be one of sbpfast's, got ndarray"),
        (
            lambda: sb.expectation_grad(F, sb.Gaussian(MEAN[:2], COV[:2, :2])),
            ValueError,
            "target has dimension 3.*distribution has dimension 2",
        ),
        (lambda: sb.expectation_grad(F, Q, estimator="magic"), ValueError, "estimator must be one of .*got 'magic'"),
        (lambda: sb.expectation_grad(F, Q, estimator=None), ValueError, "estimator must be one of"),
        (lambda: sb.expectation_grad(F, Q, estimator="product"), ValueError, "product"),
        (lambda: sb.expectation_grad(F, Q, estimator="difference"), ValueError, "difference"),
        (
            lambda: sb.expectation_grad(F, Q, sampling="halton"),
            ValueError,
            "sampling must be one of 'mc', 'antithetic', 'sobol'",
        ),
        (lambda: sb.expectation_grad(F, Q, n_samples=0), ValueError, "n_samples must be at least 1"),
        (
            lambda: sb.expectation_grad(F, Q, n_samples=-5, estimator="price"),
            ValueError,
            "n_samples must be at least 1",
        ),
        (lambda: sb.expectation_grad(F, Q, n_samples=10.0), TypeError, "n_samples must be an integer"),
        (lambda: sb.expectation_grad(F, Q, n_samples="10"), TypeError, "n_samples must be an integer"),
        (lambda: sb.expectation_grad(F, Q, estimator="score", n_samples=1), ValueError, "n_samples of at least 2"),
        (
            lambda: sb.expectation_grad(F, Q, wrt="covariance"),
            ValueError,
            "wrt must name parameters among mean, cov; got 'covariance'",
        ),
        (lambda: sb.expectation_grad(F, Q, wrt=["mean", "std"]), ValueError, "got 'std'"),
        (lambda: sb.expectation_grad(F, Q, wrt=3), TypeError, "wrt"),
        (lambda: sb.expectation_grad(F, Q, rng="x"), TypeError, "rng must be"),
        (lambda: sb.expectation_grad(F, Q, rng=-2), ValueError, "rng must be"),
        (lambda: sb.expectation_grad(F, Q, n_threads=0), ValueError, "n_threads must be at least 1"),
        (lambda: sb.expectation_grad(F, Q, n_threads=2.5), TypeError, "n_threads must be"),
    ],
}
CASES = [(group, i) for group, cases in BAD.items() for i in range(len(cases))]


@pytest.mark.parametrize("group, number", CASES)
def test_bad_input_is_refused_by_name(group, number):
    call, error, text = BAD[group][number]
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": "magic"},
        {"sampling": "x"},
        {"n_samples": 0},
        {"wrt": "x"},
        {"estimator": "score", "n_samples": 1},
        {"rng": "x"},
    ],
)
def test_nothing_is_evaluated_before_the_arguments_are_known_to_be_good(options):
    def never(*_):
        raise AssertionError("evaluated")

    f = sb.Target(value=never, grad=never, hess=never, dim=D)
    with pytest.raises((ValueError, TypeError)) as caught:
        sb.expectation_grad(f, Q, **options)
    assert "evaluated" not in str(caught.value)


def test_a_covariance_that_is_symmetric_to_rounding_is_taken():
    cov = COV.copy()
    cov[0, 1] *= 1 + 1e-12
    q = sb.Gaussian(MEAN, cov)
    np.testing.assert_array_equal(q.cov, q.cov.T)


def test_distributions_and_targets_keep_their_own_copies():
    """Changing the caller's array later changes nothing, and what is handed out is read-only."""
    mean, cov, diag, factor = MEAN.copy(), COV.copy(), np.ones(D), X[:D, :2].copy()
    qs = [
        sb.Gaussian(mean, cov),
        sb.DiagonalGaussian(mean, diag),
        sb.LowRankGaussian(mean, diag, factor),
        sb.LowRankPrecisionGaussian(mean, diag, factor),
        sb.CholeskyGaussian(mean, np.linalg.cholesky(cov)),
        sb.NaturalGaussian(mean, -cov),
    ]
    before = [q.log_prob(X) for q in qs]
    quadratic = T.quadratic(cov, mean)
    values = quadratic.value(X)
    for a in (mean, cov, diag, factor):
        a[...] = 77.0
    for q, log_prob in zip(qs, before):
        np.testing.assert_array_equal(q.log_prob(X), log_prob)
        for name in ("mean", "cov", "chol", "diag", "factor", "std", "eta1", "eta2"):
            if name in q._names:
                with pytest.raises(ValueError, match="read-only"):
                    getattr(q, name)[...] = 0.0
    np.testing.assert_array_equal(quadratic.value(X), values)


def test_inputs_are_never_modified():
    arrays = {
        "X": X.copy(),
        "y": BINARY.astype(float),
        "offset": RNG.standard_normal(N),
        "weights": RNG.random(N),
        "scale": np.ones(D),
        "x": X + 1.0,
    }
    kept = {name: a.copy() for name, a in arrays.items()}
    f = T.logistic_regression(
        arrays["X"], arrays["y"], prior_scale=arrays["scale"], offset=arrays["offset"], weights=arrays["weights"]
    )
    for result in (
        f.value(arrays["x"]),
        f.grad(arrays["x"]),
        f.hess(arrays["x"]),
        f.hvp(arrays["x"], arrays["x"]),
        f.hess_mean(arrays["x"]),
    ):
        result[...] = 0.0
    for estimator in ("exact", "price", "pathwise", "score", "stein", "combined"):
        est = sb.expectation_grad(f, Q, estimator=estimator, n_samples=100, rng=0)
        for grad in est.grad.values():
            grad[...] = 0.0
    Q.sample(3, rng=0)[...] = 0.0
    Q.log_prob(arrays["x"])[...] = 0.0
    for name in arrays:
        np.testing.assert_array_equal(arrays[name], kept[name], err_msg=name)
    np.testing.assert_array_equal(Q.mean, MEAN)
    np.testing.assert_array_equal(Q.cov, COV)


def test_integers_lists_and_single_precision_are_welcome():
    q = sb.Gaussian([0, 1], [[2, 0], [0, 3]])
    np.testing.assert_array_equal(q.cov, np.diag([2.0, 3.0]))
    assert q.mean.dtype == q.cov.dtype == np.float64
    single = sb.DiagonalGaussian(np.float32([0.1, 0.2]), np.float32([1, 2]))
    assert single.log_prob(np.zeros((1, 2), np.float32)).dtype == np.float64
    assert single.sample(np.int32(3), rng=np.uint8(5)).shape == (3, 2)
    sb.expectation_grad(F, Q, n_samples=np.int64(10), wrt=("mean",), n_threads=np.int32(1))


def test_a_regression_without_rows_is_its_prior():
    f = T.logistic_regression(np.zeros((0, 2)), [], prior_scale=2.0)
    g = T.quadratic(0.25, np.zeros(2), -np.log(2 * np.pi) - 2 * np.log(2.0))
    x = X[:, :2]
    np.testing.assert_allclose(f.value(x), g.value(x), rtol=1e-14)
    q = sb.Gaussian([0.3, 0.1], [[1.0, 0.2], [0.2, 2.0]])
    for estimator in ("exact", "price", "pathwise", "score"):
        one, two = (sb.expectation_grad(t, q, estimator=estimator, n_samples=50, rng=0) for t in (f, g))
        np.testing.assert_allclose(one.grad["cov"], two.grad["cov"], rtol=1e-12)
