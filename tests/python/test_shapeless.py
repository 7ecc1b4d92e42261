"""compile(shapeless=True): the same results for every size, and few traces."""

import ferrule.core as mx
import numpy as np
import pytest

SIZES = [(3, 4), (5, 4), (7, 9), (2, 3), (12, 12), (1, 4), (40, 3), (3, 40), (2, 2)]
weight = mx.array([0.5, 1.0, 1.5, 2.0])


def assigned(x):
    y = x + 0
    y[1:, :2] = 0.5
    return y


# what it does, how often it is traced over SIZES: 4 where it is the same for all (sizes in
# ascending or descending order, equal, one of them 1), more where the library can't tell.
CASES = {
    "elementwise": (lambda x: mx.exp(x) * 2 + 1, 4),
    "mean": (lambda x: mx.mean(x, axis=0) * 2, 4),
    "mean of all": (lambda x: x.mean(), 4),
    "variance": (lambda x: mx.var(x, axis=-1, ddof=1), 4),
    "odd ddof": (lambda x: mx.var(x, axis=-1, ddof=0.5), None),
    "deviation": (lambda x: mx.std(x), 4),
    "softmax": (lambda x: mx.softmax(x, axis=-1), 4),
    "logsumexp": (lambda x: mx.logsumexp(x, axis=0), 4),
    "layer norm": (
        lambda x: (x - x.mean(-1, keepdims=True)) * mx.rsqrt(x.var(-1, keepdims=True) + 1e-5),
        4,
    ),
    "edges off": (lambda x: x[1:, :-1], None),
    "the first": (lambda x: x[:6], None),
    "every other": (lambda x: x[::2], None),
    "reversed": (lambda x: x[::-1, ::-1], 4),
    "one row": (lambda x: x[0], 4),
    "flat": (lambda x: x.flatten() + 1, 4),
    "reshaped": (lambda x: x.reshape(-1, 1) * 2, 4),
    "a size read": (lambda x: x / x.shape[0], None),
    "the length read": (lambda x: x * len(x), None),
    "branch on a size": (lambda x: x * 2 if x.shape[0] > 4 else x * 3, None),
    "gram": (lambda x: x.T @ x, 4),
    "outer": (lambda x: x[:, :, None] * x[:, None, :], 4),
    "twice": (lambda x: mx.concatenate([x, x * 2], axis=0), 4),
    "side by side": (lambda x: mx.concatenate([x.T, x.T], axis=1), 4),
    "stack": (lambda x: mx.stack([x, -x], axis=1), 4),
    "padded": (lambda x: mx.pad(x, 2), 4),
    "ones": (lambda x: x + mx.ones_like(x), 4),
    "assigned": (assigned, None),
    "triangle": (lambda x: mx.tril(x, 1), 4),
    "diagonal": (lambda x: mx.diagonal(x), 4),
    "diagonal above": (lambda x: mx.diagonal(x, 1) if x.ndim == 2 else x, None),
    "trace": (lambda x: mx.trace(x), 4),
    "tiles": (lambda x: mx.tile(x, (2, 3)), 4),
    "repeated": (lambda x: mx.repeat(x, 2, axis=0), None),
    "take": (lambda x: mx.take(x, mx.array([0, -1, 0]), axis=0), 4),
    "argument": (lambda x: mx.sum(x, axis=0, keepdims=True) + x, 4),
    "gradient": (lambda x: mx.grad(lambda y: mx.sum(mx.tanh(y) * y.mean()))(x), 4),
    "large literal": (lambda x: x * 1e7 + 1e-7, 4),
    "sizes of its own": (lambda x: mx.sum(x) + mx.arange(7), 4),
}


@pytest.mark.parametrize("name", CASES)
def test_every_size(name):
    body, most = CASES[name]
    calls = []

    def f(x):
        calls.append(x.ndim)
        return body(x)

    compiled = mx.compile(f, shapeless=True)
    rng = np.random.default_rng(3)
    for shape in SIZES + SIZES[::-1]:
        x = mx.array(rng.normal(size=shape).astype(np.float32))
        want, got = np.array(body(x)), np.array(compiled(x))
        assert want.shape == got.shape and want.dtype == got.dtype, shape
        assert np.allclose(want, got, rtol=1e-5, atol=1e-5, equal_nan=True), shape
    assert most is None or len(calls) <= most


def test_several_arguments():
    calls = []

    def f(x, w, b):
        calls.append(1)
        return mx.maximum(x @ w + b, 0)

    compiled = mx.compile(f, shapeless=True)
    rng = np.random.default_rng(0)
    for n, k, m in ((3, 4, 5), (4, 5, 6), (10, 11, 120), (30, 40, 50), (2, 9, 11)):
        x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((n, k), (k, m), (m,)))
        got = np.array(compiled(mx.array(x), mx.array(w), mx.array(b)))
        assert np.allclose(got, np.maximum(x @ w + b, 0), atol=1e-4)
    assert len(calls) == 1
    for n, k, m in ((5, 4, 3), (4, 4, 4), (1, 3, 2)):
        x, w, b = (rng.normal(size=s).astype(np.float32) for s in ((n, k), (k, m), (m,)))
        got = np.array(compiled(mx.array(x), mx.array(w), mx.array(b)))
        assert np.allclose(got, np.maximum(x @ w + b, 0), atol=1e-4)


def test_as_the_peer_says():
    y = [1]
    f = mx.compile(lambda x: x + y[0], shapeless=True)
    assert mx.array_equal(f(mx.array([1, 2])), mx.array([2, 3]))
    y[0] = 2
    assert mx.array_equal(f(mx.array([1, 2, 3])), mx.array([2, 3, 4]))  # not traced again
    assert mx.array_equal(f(mx.array([1.0, 2.0, 3.0])), mx.array([3.0, 4.0, 5.0]))  # dtype
    assert mx.array_equal(f(mx.array([[1, 2, 3]])), mx.array([[3, 4, 5]]))  # dimensions


def test_captured_arrays():
    f = mx.compile(lambda x: x * weight, shapeless=True)
    for n in (3, 7, 4, 2):
        assert np.allclose(np.array(f(mx.ones((n, 4)))), np.tile(np.array(weight), (n, 1)))
    w = mx.array([2.0])
    g = mx.compile(lambda x: x * w + mx.sum(x), shapeless=True)
    for n in (3, 7, 4, 2, 1):
        assert np.allclose(np.array(g(mx.ones((n,)))), 2 + n)


def test_state():
    state = {"n": mx.array(0.0)}
    calls = []

    def f(x):
        calls.append(1)
        state["n"] = state["n"] + x.sum()
        return x * state["n"]

    compiled = mx.compile(f, inputs=state, outputs=state, shapeless=True)
    total = 0.0
    for n in (3, 5, 9):
        got = compiled(mx.ones((n,)))
        total += n
        assert state["n"].item() == total and got.shape == (n,) and got[0].item() == total
    assert len(calls) == 1


def test_a_refused_trace_leaves_nothing():
    state, sizes = {"n": mx.array(0.0), "last": [mx.array(0.0)]}, []

    def f(x):
        state["n"] = state["n"] + 1
        state["last"][0] = x.sum()
        sizes.append(x.shape[0])  # refused here
        if sizes[-1] == 4:
            raise KeyError("four")
        return x * state["n"]

    compiled = mx.compile(f, inputs=state, outputs=state, shapeless=True)
    for k, n in enumerate((3, 5, 3), 1):
        last = state["last"]
        assert compiled(mx.ones((n,)))[0].item() == k == state["n"].item()
        assert state["last"] is last and last[0].item() == n
    with pytest.raises(KeyError, match="four"):
        compiled(mx.ones((4,)))
    assert state["n"].item() == 3 and state["last"][0].item() == 3
    assert sizes == [3, 5, 4]
    assert mx.ones((6,)).shape == (6,)


def test_errors_are_the_function_s():
    def f(x):
        return x + mx.ones((4,))

    compiled = mx.compile(f, shapeless=True)
    assert compiled(mx.ones((4,)))[0].item() == 2
    with pytest.raises(ValueError, match=r"float32\[5\]"):
        compiled(mx.ones((5,)))
    assert compiled(mx.ones((4,)))[0].item() == 2
    failing = mx.compile(lambda x: 1 / 0, shapeless=True)
    with pytest.raises(ZeroDivisionError):
        failing(mx.ones((3,)))
    looking = mx.compile(lambda x: x.tolist(), shapeless=True)
    with pytest.raises(mx.TraceError, match="<lambda>"):
        looking(mx.ones((3,)))


def test_numbers_and_structure():
    calls = []

    def f(t, k):
        calls.append(1)
        return {"y": t["x"] * k, "z": [t["x"].sum()]}

    compiled = mx.compile(f, shapeless=True)
    for n, k in ((3, 0.25), (4, 0.25), (5, 0.75), (6, 0.375), (7, 0.3)):
        got = compiled({"x": mx.ones((n,))}, k)
        assert np.allclose(np.array(got["y"]), k) and got["z"][0].item() == n


def test_large_and_layouts():
    f = mx.compile(lambda x: mx.exp(x).sum(), shapeless=True)
    for n in (10, 100_000, 399_999, 400_009, 400_010):
        assert abs(f(mx.zeros((n,))).item() / n - 1) < 1e-5
    x = mx.array(np.arange(12, dtype=np.float32).reshape(3, 4))
    g = mx.compile(lambda x: x * 2 + x.sum(), shapeless=True)
    for view in (x, x.T, x[::2], x[:, ::-1], x[1:1]):
        assert np.allclose(np.array(g(view)), np.array(view) * 2 + np.array(view).sum())


def test_inside_another():
    inner = mx.compile(lambda x: x * 2 + x.mean(), shapeless=True)
    outer = mx.compile(lambda x: inner(x) + inner(mx.ones((3,))).sum())
    for n in (2, 5):
        assert np.allclose(np.array(outer(mx.ones((n,)))), 3 + 9)
