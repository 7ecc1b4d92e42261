"""mx.random: distributions by their moments and formulas, the state, what can't be."""

import math
from functools import partial

import ferrule.core as mx
import ferrule.nn as nn
import numpy as np
import pytest

N = 100_000
KEY = mx.random.key(3)


def draw(function, *args, **kwargs):
    """Float64 values; the same for one key, others for another."""
    x = function(*args, key=KEY, **kwargs)
    again, other = (
        function(*args, key=KEY, **kwargs),
        function(*args, key=mx.random.key(4), **kwargs),
    )
    assert mx.array_equal(x, again).item() and not mx.array_equal(x, other).item()
    return np.array(x.astype(mx.float32)).astype(np.float64)


def near(value, wanted, spread):
    """Within five standard errors of N draws."""
    assert abs(value - wanted) < 5 * spread / math.sqrt(N), (value, wanted)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.float32, mx.float64])
def test_uniform_and_normal(dtype):
    u = draw(mx.random.uniform, shape=(N,), dtype=dtype)
    assert u.min() >= 0 and u.max() < 1
    near(u.mean(), 0.5, 0.3 if dtype in (mx.float32, mx.float64) else 0.8)
    near(u.var(), 1 / 12, 0.1 if dtype in (mx.float32, mx.float64) else 0.3)
    x = draw(mx.random.normal, (N,), dtype=dtype, loc=2, scale=3)
    near(x.mean(), 2, 3.5)
    near(x.var(), 9, 14)


def test_integers():
    x = draw(mx.random.randint, -3, 5, (N,))
    values, counts = np.unique(x, return_counts=True)
    assert values.tolist() == list(range(-3, 5))
    for c in counts:
        near(c / N, 1 / 8, math.sqrt(7) / 8)
    for dtype in (mx.int8, mx.uint8, mx.int16, mx.uint32, mx.int64, mx.uint64):
        y = mx.random.randint(0, 100, (50,), dtype=dtype, key=KEY)
        assert y.dtype == dtype and (0 <= np.array(y)).all() and (np.array(y) < 100).all()
    each = mx.random.randint(mx.array([0, 10]), mx.array([[3], [13]]), (4, 2, 2), key=KEY)
    y = np.array(each)
    assert (y[..., 0] < 13).all() and (y[:, 1, 1] >= 10).all()
    assert mx.random.randint(5, 5, (3,)).tolist() == [5, 5, 5]
    assert mx.random.randint(0, 2).shape == ()


def test_bernoulli():
    near(draw(mx.random.bernoulli, 0.3, (N,)).mean(), 0.3, 0.46)
    assert mx.random.bernoulli(mx.array([0.0, 1.0])).tolist() == [False, True]
    assert mx.random.bernoulli().dtype == mx.bool_ and mx.random.bernoulli().shape == ()
    with pytest.raises(ValueError, match="broadcast"):
        mx.random.bernoulli(mx.array([0.1, 0.2]), (3,))


def test_truncated_normal():
    x = draw(mx.random.truncated_normal, -1, 2, (N,))
    assert x.min() >= -1 and x.max() <= 2

    def density(t):
        return math.exp(-t * t / 2) / math.sqrt(2 * math.pi)

    mass = (math.erf(2 / math.sqrt(2)) + math.erf(1 / math.sqrt(2))) / 2
    near(x.mean(), (density(-1) - density(2)) / mass, 1)
    y = mx.random.truncated_normal(mx.array([0.0, 3.0]), mx.array([1.0, 4.0]), dtype=mx.float16)
    assert y.shape == (2,) and y.dtype == mx.float16 and 3 <= y[1].item() <= 4


def test_gumbel_and_laplace():
    x = draw(mx.random.gumbel, (N,))
    near(x.mean(), 0.5772156649, 1.3)
    near(x.var(), math.pi**2 / 6, 4)
    x = draw(mx.random.laplace, (N,), loc=1.0, scale=2.0)
    near(x.mean(), 1, 3)
    near(abs(x - 1).mean(), 2, 2)
    near((x > 1).mean(), 0.5, 0.5)


def test_categorical():
    p = np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]], dtype=np.float32)
    logits = mx.array(np.log(p) + 3)
    x = mx.random.categorical(logits, num_samples=N, key=KEY)
    assert x.dtype == mx.uint32 and x.shape == (2, N)
    for row in range(2):
        for k in range(3):
            near((np.array(x[row]) == k).mean(), p[row, k], 0.5)
    assert mx.random.categorical(logits).shape == (2,)
    assert mx.random.categorical(logits, axis=0).shape == (3,)
    assert mx.random.categorical(logits, shape=(5, 2)).shape == (5, 2)
    assert mx.random.categorical(logits, axis=0, shape=(5, 3)).shape == (5, 3)
    sure = mx.array([[-math.inf, 0.0], [0.0, -math.inf]])
    assert mx.random.categorical(sure, num_samples=3).tolist() == [[1] * 3, [0] * 3]
    with pytest.raises(ValueError, match="at most one"):
        mx.random.categorical(logits, shape=(2,), num_samples=3)
    with pytest.raises(ValueError, match="broadcast"):
        mx.random.categorical(logits, shape=(3,))
    with pytest.raises(IndexError):
        mx.random.categorical(logits, axis=2)


def test_permutation():
    x = np.array(mx.random.permutation(1000, key=KEY))
    assert x.dtype == np.uint32 and sorted(x) == list(range(1000)) and (x != range(1000)).any()
    a = np.arange(24).reshape(2, 3, 4)
    y = np.array(mx.random.permutation(mx.array(a), axis=-1, key=KEY))
    order = y[0, 0]
    assert (y == a[:, :, order]).all()
    firsts = [mx.random.permutation(3, key=mx.random.key(i)).tolist()[0] for i in range(300)]
    assert all(60 < firsts.count(k) < 140 for k in range(3))
    assert mx.random.permutation(0).shape == (0,) and mx.random.permutation(1).tolist() == [0]
    with pytest.raises(ValueError):
        mx.random.permutation(-1)
    with pytest.raises(IndexError):
        mx.random.permutation(mx.array(a), axis=3)


def test_multivariate_normal():
    mean, cov = np.array([1.0, -2.0, 3.0]), np.array([[2, 0.5, 0], [0.5, 1, -0.4], [0, -0.4, 1.5]])
    arrays = mx.array(mean.astype(np.float32)), mx.array(cov.astype(np.float32))
    x = np.array(mx.random.multivariate_normal(*arrays, (N,), key=KEY)).astype(np.float64)
    assert x.shape == (N, 3)
    np.testing.assert_allclose(x.mean(0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(x.T), cov, atol=0.05)
    flat = mx.array([[1.0, 1.0], [1.0, 1.0]])  # on a line
    y = np.array(mx.random.multivariate_normal(mx.zeros(2), flat, (50,), key=KEY))
    np.testing.assert_allclose(y[:, 0], y[:, 1], atol=1e-5)
    spread = mx.random.multivariate_normal(
        mx.zeros(2), mx.array([[1e4, 0], [0, 1e-4]]), (N,), key=KEY
    )
    np.testing.assert_allclose(np.array(spread).std(0), [100, 0.01], rtol=0.05)
    none = mx.random.multivariate_normal(mx.ones(2), mx.array([[0.0, 0], [0, 4]]), (9,), key=KEY)
    assert none[:, 0].tolist() == [1] * 9 and abs(none[:, 1] - 1).min() > 0
    batch = mx.random.multivariate_normal(mx.zeros((4, 1, 3)), mx.array(np.stack([cov, cov])))
    assert batch.shape == (4, 2, 3)
    with pytest.raises(ValueError):
        mx.random.multivariate_normal(mx.zeros(2), arrays[1])
    with pytest.raises(ValueError):
        mx.random.multivariate_normal(*arrays, dtype=mx.float16)


def test_multivariate_normal_inside_transformations():
    """The factor of the covariances is a part of the graph: the same draws compiled; batches; gradients."""

    def draw(mean, cov):
        return mx.random.multivariate_normal(mean, cov, (5,), key=KEY)

    rng = np.random.default_rng(0)
    for n in 1, 2, 5, 40:
        half = rng.normal(size=(3, n, max(n // 2, 1)))  # covariances without full rank
        covs = mx.array((half @ half.transpose(0, 2, 1)).astype(np.float32))
        means = mx.array(rng.normal(size=(3, n)).astype(np.float32))
        plain = [draw(means[i], covs[i]) for i in range(3)]
        close = {"rtol": 1e-4, "atol": 1e-4}
        for i in range(3):
            np.testing.assert_allclose(mx.compile(draw)(means[i], covs[i]), plain[i], **close)
        np.testing.assert_allclose(mx.vmap(draw)(means, covs), mx.stack(plain), **close)
        alike = mx.vmap(draw, in_axes=(0, None))(means, covs[0])
        np.testing.assert_allclose(alike[0], plain[0], **close)
        many = mx.random.multivariate_normal(mx.zeros(n), covs[0], (20000,), key=KEY)
        np.testing.assert_allclose(
            np.array(many).T @ np.array(many) / 20000, covs[0], atol=0.06 * float(covs[0].max())
        )

    def spread(cov):
        return mx.square(draw(mx.zeros(2), cov)).sum()

    cov, change = mx.array([[2.0, 0.5], [0.5, 1.0]]), 1e-2 * mx.array([[1.0, 0.3], [0.3, -0.5]])
    slope = (spread(cov + change) - spread(cov - change)).item() / 2
    assert (mx.grad(spread)(cov) * change).sum().item() == pytest.approx(slope, rel=1e-2)
    ones = mx.vmap(lambda m: mx.random.multivariate_normal(m, cov, key=KEY))(mx.zeros((4, 2)))
    assert ones.shape == (4, 2)
    wrong = mx.array([[1.0, 2.0], [2.0, 1.0]])  # an eigenvalue of -1
    assert not mx.isfinite(mx.random.multivariate_normal(mx.zeros(2), wrong)).any().item()


def test_state():
    mx.random.seed(5)
    state = mx.random.state
    assert [k.tolist() for k in state] == [mx.random.key(5).tolist()]
    first = mx.random.uniform(shape=(3,)).tolist()
    assert state is mx.random.state and state[0].tolist() != mx.random.key(5).tolist()
    rest, key = mx.random.split(mx.random.key(5))
    assert mx.random.uniform(shape=(3,), key=key).tolist() == first
    assert state[0].tolist() == rest.tolist()
    mx.random.uniform(key=key)
    assert state[0].tolist() == rest.tolist()  # a key of one's own leaves it
    held = state.pop()
    with pytest.raises(ValueError, match="state"):
        mx.random.uniform()
    state.append(held)
    with pytest.raises(TypeError):
        mx.random.uniform(key=3)


def test_state_in_compiled_functions():
    """Row 16: captured, each call draws anew, the same as uncompiled; not captured, one constant."""

    def draws():
        return mx.random.uniform(shape=(4,)), mx.random.randint(0, 100, (3,)), mx.random.bernoulli()

    def run(f, n=3):
        mx.random.seed(7)
        return [[x.tolist() for x in f()] for _ in range(n)]

    captured = partial(mx.compile, inputs=mx.random.state, outputs=mx.random.state)(draws)
    assert run(captured) == run(draws)
    after = mx.random.uniform().item()
    run(captured)
    assert mx.random.uniform().item() == after
    constant = run(mx.compile(lambda: draws()))
    assert constant[0] == constant[1] == constant[2]


def test_dropout():
    x = mx.ones((40, 50, 20))
    layer = nn.Dropout(0.25)
    state = [layer.state, mx.random.state]
    compiled = partial(mx.compile, inputs=state, outputs=state)(layer.__call__)
    mx.random.seed(1)
    one, two = np.array(compiled(x)), np.array(compiled(x))
    mx.random.seed(1)
    assert (one == np.array(layer(x))).all() and (two == np.array(layer(x))).all()
    assert (one != two).any()
    assert set(np.unique(one)) == {0, np.float32(1 / 0.75)}
    assert abs((one == 0).mean() - 0.25) < 0.01
    channels = np.array(nn.Dropout2d(0.5)(mx.ones((10, 4, 4, 20))))
    assert (channels == channels[:, :1, :1]).all() and 0.3 < (channels == 0).mean() < 0.7
    volumes = np.array(nn.Dropout3d(0.5)(mx.ones((10, 2, 3, 4, 20))))
    assert (volumes == volumes[:, :1, :1, :1]).all() and 0.3 < (volumes == 0).mean() < 0.7
    grad = mx.grad(lambda x: nn.Dropout(0.5)(x).sum())(x)
    assert set(np.unique(np.array(grad))) == {0, 2}
    for wrong in (1.0, -0.1):
        with pytest.raises(ValueError):
            nn.Dropout(wrong)
    with pytest.raises(ValueError):
        nn.Dropout2d()(mx.ones((3, 3)))


def test_weights_of_layers_follow_the_seed():
    mx.random.seed(3)
    one = np.array(nn.Linear(4, 5).weight)
    mx.random.seed(3)
    assert (np.array(nn.Linear(4, 5).weight) == one).all()
    zeros = np.array(nn.init.sparse(0.5)(mx.zeros((8, 10))) if hasattr(mx, "argsort") else 0)
    assert zeros.ndim == 0 or ((zeros == 0).sum(1) == 5).all()


def test_choices_stay_as_they_are():
    """The numbers that seeds have given so far."""
    key = mx.random.key(7)
    assert mx.random.permutation(12, key=key).tolist() == [8, 7, 1, 10, 2, 11, 9, 3, 4, 0, 6, 5]
    many = np.array(mx.random.permutation(3000, key=key)).astype(np.int64)
    assert (many * np.arange(3000)).sum() == 6790767463
    logits = mx.array([[0.1, 2, 0.3, -1], [1, 0, 1, 0]])
    some = mx.random.categorical(logits, num_samples=8, key=key)
    assert some.tolist() == [[1, 1, 1, 2, 0, 3, 1, 1], [1, 1, 0, 2, 2, 2, 3, 2]]
    some = mx.random.categorical(logits, axis=0, shape=(3, 4), key=key)
    assert some.tolist() == [[0, 0, 0, 1], [1, 0, 1, 1], [1, 0, 1, 1]]
    assert mx.random.categorical(mx.zeros((3, 0)), axis=0).shape == (0,)
    assert mx.random.categorical(mx.zeros((0, 3)), axis=1).shape == (0,)


def test_permutation_of_many():
    x = np.array(mx.random.permutation(1_000_000, key=KEY))
    assert (np.bincount(x, minlength=1_000_000) == 1).all()
