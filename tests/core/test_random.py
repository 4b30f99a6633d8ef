"""Random streams: known answers, frozen streams, independence of layout and threads, the normal law to its tails."""

import numpy as np
import pytest
import scipy.stats as st
from statistics_helpers import FALSE_ALARM, assert_counts, assert_law, assert_unbiased

import sbpfast as sb
from sbpfast import _core
from sbpfast._reference import random as twin
from sbpfast._streams import LONG, normal_panels, normal_rows, stream_key, to_panels, to_rows

ISAS = _core.AVAILABLE_ISAS
ONES = 2**64 - 1
# Random123's known-answer vectors for threefry4x64, 20 rounds: counter, key, result
KNOWN = [
    ((0,) * 4, (0,) * 4, (0x09218EBDE6C85537, 0x55941F5266D86105, 0x4BD25E16282434DC, 0xEE29EC846BD2E40B)),
    ((ONES,) * 4, (ONES,) * 4, (0x29C24097942BBA1B, 0x0371BBFB0F6F4E11, 0x3C231FFA33F83A1C, 0xCD29113FDE32D168)),
    (
        (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
        (0x452821E638D01377, 0xBE5466CF34E90C6C, 0xBE5466CF34E90C6C, 0xC0AC29B7C97C50DD),
        (0xA7E8FDE591651BD9, 0xBAAFD0C30138319B, 0x84A5C1A729E685B9, 0x901D406CCEBC1BA4),
    ),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("counter,key,words", KNOWN)
def test_known_answers(counter, key, words, isa):
    got = _core.load("random", isa).threefry(np.array(counter, np.uint64), np.array(key, np.uint64))
    assert tuple(int(w) for w in got) == words
    assert tuple(twin.threefry(counter, key)) == words


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name,tolerance", [("fill_uniform", 0.0), ("fill_normal", 4e-15)])
def test_streams_match_their_definition(name, tolerance, isa):
    key = stream_key(5)
    out = np.empty((2, 3, 64))
    getattr(_core.load("random", isa), name)(key, 7, 11, out, 1)
    np.testing.assert_allclose(out, getattr(twin, name)(key, 7, 11, 2, 3), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("d", [1, 3, 32, 41])
def test_points_as_rows_match_their_definition(d, isa):
    kernel, key, r = _core.load("random", isa), stream_key(5), np.random.default_rng(0)
    mean, factor = r.standard_normal(d), np.tril(r.standard_normal((d, d)))
    std = np.abs(np.diagonal(factor)).copy()
    for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 1e-6)):
        out = np.empty((70, d), dtype)
        kernel.diagonal_rows(key, 7, mean, std, out, 2)
        np.testing.assert_allclose(out, twin.diagonal_rows(key, 7, mean, std, 70), rtol=tolerance, atol=tolerance)
        kernel.affine_rows(key, 7, factor, mean, out, 2)
        np.testing.assert_allclose(out, twin.affine_rows(key, 7, factor, mean, 70), rtol=tolerance, atol=10 * tolerance)


def test_frozen_streams():
    """The promise of CHANGELOG.md: these numbers change only in a release that says so."""
    assert [int(w) for w in stream_key(2026)] == [
        9479640617736930317, 6466925300248251303, 6873403527482456428, 7979030436643488261,
    ]  # fmt: skip
    z = sb.standard_normal(70, rng=2026)
    np.testing.assert_allclose(z[[0, 1, 15, 16, 31, 32, 48, 63, 64, 69]], FROZEN_NORMALS, rtol=1e-13)
    x = sb.Gaussian(np.array([1.0, -1.0]), np.array([[2.0, 0.5], [0.5, 1.0]])).sample(66, rng=2026)
    np.testing.assert_allclose(x[[0, 40, 65]], FROZEN_GAUSSIAN, rtol=1e-13)


FROZEN_NORMALS = [
    1.0714381461655806, 0.7088523804274176, 0.46680412565182033, 0.30104490885866214, -0.6211904310096932,
    -0.243942444139633, 0.10769613082083537, -0.790306293851092, 1.6971500542242652, 2.501924264826887,
]  # fmt: skip
FROZEN_GAUSSIAN = [
    [2.515242357551251, -2.4052384236807263],
    [1.561440935414716, -1.4610400348738286],
    [2.626461600975781, -0.952856005144115],
]


def test_kinds_of_rng():
    sequence = np.random.SeedSequence(3)
    np.testing.assert_array_equal(stream_key(3), stream_key(sequence))
    np.testing.assert_array_equal(stream_key(np.int64(3)), stream_key(3))
    generator = np.random.default_rng(3)
    first, second = stream_key(generator), stream_key(generator)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, stream_key(np.random.default_rng(3)))
    assert stream_key(np.random.PCG64(1)).shape == (4,)
    assert not np.array_equal(stream_key(None), stream_key(None))
    for bad in (True, 1.5, "seed", [1, 2]):
        with pytest.raises(TypeError, match="rng"):
            stream_key(bad)
    with pytest.raises(ValueError, match="rng"):
        stream_key(-1)


@pytest.mark.parametrize("d", [1, 5, LONG, LONG + 70])
@pytest.mark.parametrize("antithetic", [False, True])
def test_a_draw_depends_on_its_number_alone(d, antithetic):
    key = stream_key(0)
    whole = normal_rows(key, 0, 0, 200, d, antithetic, 1)
    for start, stop in ((0, 64), (64, 130), (3, 5), (130, 200), (65, 66)):
        np.testing.assert_array_equal(normal_rows(key, 0, start, stop, d, antithetic, 2), whole[start:stop])
    np.testing.assert_array_equal(to_rows(normal_panels(key, 0, 64, 200, d, antithetic, 1), 136), whole[64:])
    if antithetic:
        np.testing.assert_array_equal(whole[1::2], -whole[0::2])


def test_panels_and_rows_are_inverse():
    x = np.random.default_rng(0).standard_normal((130, 7))
    np.testing.assert_array_equal(to_rows(to_panels(x), 130), x)


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_same_bits_for_every_thread_count(threads):
    np.testing.assert_array_equal(
        sb.standard_normal((500, 1001), rng=1, n_threads=threads), sb.standard_normal((500, 1001), rng=1, n_threads=1)
    )


def test_normals_are_normal():
    z = sb.standard_normal(4_000_000, rng=11)
    assert_law(z[:1_000_000], "norm")
    edges = st.norm.ppf(np.linspace(0, 1, 401))
    counts = np.histogram(z, edges)[0]
    assert_counts(counts)
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0), (6, 15.0)):
        spread = np.std(z**power) / np.sqrt(len(z))
        assert_unbiased(np.mean(z**power), moment, spread, freedom=np.inf)
    beyond = np.sum(np.abs(z) > 4.5)
    assert st.binomtest(int(beyond), len(z), 2 * st.norm.sf(4.5)).pvalue > FALSE_ALARM
    pairs = z.reshape(-1, 2)
    for values in (pairs, pairs**2):
        assert_unbiased(np.corrcoef(values.T)[0, 1], 0.0, 1.0 / np.sqrt(len(pairs)), freedom=np.inf)


@pytest.mark.parametrize("isa", ISAS)
def test_the_far_tails(isa):
    """Extreme words go to the extreme quantiles of the radius: R^2 = -2 log u at u = (w + 1/2)/2^64."""
    out = np.empty(1)
    module = _core.load("elementary", isa)
    for word in (0, 1, 2, 1000, 2**40, 2**63, ONES - 2**11, ONES):
        module.from_uint64(np.array([word], np.uint64), out)
        u = (out + 0.5) * 2.0**-64
        module.evaluate("log", u, out)
        exact = (
            np.log((np.longdouble(word) + np.longdouble(0.5)) / np.longdouble(2.0**64))
            if word < 2**63
            else np.log(u)[0]
        )
        assert abs(float(out[0]) - float(exact)) <= 2e-15 * max(1.0, abs(float(exact)))
    assert 9.48 < np.sqrt(-2 * np.log(0.5 * 2.0**-64)) < 9.50


def test_standard_normal_shapes():
    assert sb.standard_normal(0, rng=0).shape == (0,)
    assert sb.standard_normal((3, 0, 2), rng=0).shape == (3, 0, 2)
    assert sb.standard_normal((3, 5), rng=0).shape == (3, 5)
    np.testing.assert_array_equal(sb.standard_normal(100, rng=0)[:70], sb.standard_normal(70, rng=0))
