"""mx.custom_function and mx.checkpoint, alone, nested and compiled."""

import gc
import weakref

import ferrule.core as mx
import numpy as np
import pytest
from test_transforms import numbers


def near(x, want):
    np.testing.assert_allclose(numbers(x), want, rtol=1e-5, atol=1e-6)


def make(log=None, vjp=True, jvp=False, vmap=False):
    """sin(x) * y, whose rules can be told from the real ones."""

    @mx.custom_function
    def f(x, y):
        return mx.sin(x) * y

    if vjp:

        @f.vjp
        def f_vjp(primals, cotangent, output):
            if log is not None:
                log.append((primals, cotangent, output))
            x, y = primals
            return 10 * cotangent * mx.cos(x) * y, 10 * cotangent * mx.sin(x)

    if jvp:

        @f.jvp
        def f_jvp(primals, tangents):
            x, y = primals
            dx, dy = tangents
            moved = 0 if dx is None else 3 * dx * mx.cos(x) * y
            return moved + (0 if dy is None else 3 * dy * mx.sin(x)) + x * 0

    if vmap:

        @f.vmap
        def f_vmap(inputs, axes):
            x, y = inputs
            assert all(a in (0, None) for a in axes)
            return 7 * mx.sin(x) * y, 0

    return f


X, Y = 0.3, 1.7


def xy():
    return mx.array(X), mx.array(Y)


def test_vjp_is_used_in_any_nesting():
    log = []
    f = make(log)
    x, y = xy()
    near(f(x, y), np.sin(X) * Y)
    assert not log  # only where it is differentiated
    gx, gy = mx.grad(f, argnums=(0, 1))(x, y)
    near(gx, 10 * np.cos(X) * Y)
    near(gy, 10 * np.sin(X))
    primals, cotangent, output = log[0]
    assert type(primals) is tuple and cotangent.item() == 1
    near(output, np.sin(X) * Y)
    near(mx.compile(mx.grad(f))(x, y), 10 * np.cos(X) * Y)
    near(mx.grad(mx.compile(lambda x: f(x, y) * 2))(x), 20 * np.cos(X) * Y)
    near(mx.grad(mx.grad(f))(x, y), -10 * np.sin(X) * Y)
    near(mx.grad(lambda x: mx.exp(f(x * x, y)))(x),
         np.exp(np.sin(X * X) * Y) * 10 * np.cos(X * X) * Y * 2 * X)  # fmt: skip
    near(mx.vjp(f, [x, y], [mx.array(2.0)])[1][0], 20 * np.cos(X) * Y)
    near(mx.compile(f)(x, y), np.sin(X) * Y)


def test_vjp_in_batches():
    f = make()
    xs, y = mx.array([0.1, 0.2, 0.3]), mx.array(Y)
    want = 10 * np.cos(numbers(xs)) * Y
    near(mx.vmap(mx.grad(f), in_axes=(0, None))(xs, y), want)
    over = lambda xs, y: mx.sum(mx.vmap(f, in_axes=(0, None))(xs, y))  # noqa: E731
    near(over(xs, y), np.sum(np.sin(numbers(xs)) * Y))
    gx, gy = mx.grad(over, argnums=(0, 1))(xs, y)
    near(gx, want)
    near(gy, 10 * np.sum(np.sin(numbers(xs))))
    near(mx.compile(mx.grad(over))(xs, y), want)
    twice = lambda xs: mx.sum(mx.vmap(mx.vmap(f, in_axes=(0, None)), in_axes=(0, None))(xs, y))  # noqa: E731
    near(mx.grad(twice)(mx.stack([xs, xs])), np.stack([want, want]))


def test_jvp():
    f = make(vjp=False, jvp=True)
    x, y = xy()
    one = mx.array(1.0)
    near(mx.jvp(f, [x, y], [one, one])[1][0], 3 * (np.cos(X) * Y + np.sin(X)))
    near(mx.jvp(lambda x: f(x, y) * 2, [x], [one])[1][0], 6 * np.cos(X) * Y)
    near(mx.compile(lambda x: mx.jvp(lambda x: f(x, y), [x], [one])[1][0])(x), 3 * np.cos(X) * Y)
    near(mx.grad(f)(x, y), np.cos(X) * Y)  # backwards it is the function itself
    xs = mx.array([0.1, 0.2])
    g = lambda xs: mx.vmap(f, in_axes=(0, None))(xs, y)  # noqa: E731
    near(mx.jvp(g, [xs], [mx.ones(2)])[1][0], 3 * np.cos(numbers(xs)) * Y)
    near(mx.jvp(make(vjp=True), [x, y], [one, one])[1][0], np.cos(X) * Y + np.sin(X))


def test_vmap():
    f = make(vmap=True)
    xs, y = mx.array([0.1, 0.2]), mx.array(Y)
    near(mx.vmap(f, in_axes=(0, None))(xs, y), 7 * np.sin(numbers(xs)) * Y)
    near(mx.compile(mx.vmap(f, in_axes=(0, None)))(xs, y), 7 * np.sin(numbers(xs)) * Y)
    got = mx.grad(lambda xs: mx.sum(mx.vmap(f, in_axes=(0, None))(xs, y)))(xs)
    near(got, 10 * np.cos(numbers(xs)) * Y)

    @mx.custom_function
    def g(x):
        return x * 2, x.sum()

    g.vmap(lambda x, axis: ((x.T * 2, mx.array(5.0)), (1, None)))
    a, b = mx.vmap(g)(mx.ones((2, 3)))
    assert a.shape == (2, 3) and b.tolist() == [5, 5]


def test_containers():
    @mx.custom_function
    def f(d, e, *, scale):
        return {"o": d["a"] * e[0] * scale, "p": [d["a"]]}

    seen = []

    @f.vjp
    def f_vjp(primals, cotangents, outputs, *, scale):
        seen.append((primals, cotangents, outputs, scale))
        return {"a": cotangents["o"] * 5 + cotangents["p"][0]}, None

    x = mx.array(2.0)
    g = lambda x, z: f({"a": x}, [z], scale=3)["o"] * 2  # noqa: E731
    gx, gz = mx.grad(g, argnums=(0, 1))(x, mx.array(4.0))
    assert gx.item() == 10 and gz.item() == 0
    primals, cotangents, outputs, scale = seen[0]
    assert primals[0]["a"].item() == 2 and cotangents["p"][0].item() == 0 and scale == 3
    assert outputs["o"].item() == 24

    @mx.custom_function
    def one(x):
        return x * 2

    one.vjp(lambda x, c, y: c * x * y)  # one argument stands for itself
    assert mx.grad(one)(mx.array(3.0)).item() == 18


def test_what_is_captured_is_constant():
    def g(x, y):
        @mx.custom_function
        def f(x):
            return x * y

        @f.vjp
        def f_vjp(x, dx, fx):
            raise ValueError("Abort!")

        return f(x)

    x, y = mx.array(2.0), mx.array(3.0)
    assert g(x, y).item() == 6
    with pytest.raises(ValueError, match="Abort!"):
        mx.grad(g)(x, y)
    assert mx.grad(g, argnums=1)(x, y).item() == 0


def test_errors():
    f = make(vjp=False)
    x, y = xy()
    f.vjp(lambda p, c, o: c)
    with pytest.raises(ValueError, match="custom_function.vjp"):
        mx.grad(f)(x, y)
    f.vjp(lambda p, c, o: (mx.ones(3), c))
    with pytest.raises(ValueError, match="float32.3. for float32"):
        mx.grad(f)(x, y)
    f.jvp(lambda p, t: None)
    with pytest.raises(ValueError, match="didn't set"):
        mx.jvp(f, [x, y], [x, y])
    f.vmap(lambda i, a: i[0])
    with pytest.raises(ValueError, match="axes"):
        mx.vmap(f)(mx.ones(2), mx.ones(2))
    f.vmap(lambda i, a: (mx.ones(5), 0))
    with pytest.raises(ValueError, match="batch of 2"):
        mx.vmap(f)(mx.ones(2), mx.ones(2))
    with pytest.raises(TypeError):
        mx.custom_function(3)
    with pytest.raises(TypeError):
        f.vjp(3)
    near(mx.grad(make())(x, y), 10 * np.cos(X) * Y)


def test_many_arguments_and_results():
    @mx.custom_function
    def f(xs):
        return [x * 2 for x in xs]

    f.vjp(lambda xs, c, y: [3 * g for g in c])
    xs = [mx.array(float(i)) for i in range(500)]
    grads = mx.grad(lambda xs: sum(f(xs)))(xs)
    assert [g.item() for g in grads[::99]] == [3] * 6
    got = mx.vmap(lambda xs: f(xs)[70])([mx.ones(2) for _ in xs])
    assert got.tolist() == [2, 2]


def test_chains_are_freed_without_recursion():
    f = mx.custom_function(lambda x: x + 1)
    f.vjp(lambda x, c, y: c)

    def chain(x):
        for _ in range(20000):
            x = f(x)
        return x

    assert mx.grad(chain)(mx.array(1.0)).item() == 1


def test_rules_go_with_what_needs_them():
    def once():
        f = make()
        mx.eval(mx.grad(lambda x: f(x, mx.array(2.0)))(mx.array(1.0)))
        return weakref.ref(f)

    gone = once()
    gc.collect()
    assert gone() is None


# ---- checkpoint ------------------------------------------------------------------------------------


def test_checkpoint_runs_again():
    calls = []

    def f(x, k=1):
        calls.append(1)
        return mx.sin(x) * x * k

    x = mx.array(0.7)
    want = 3 * (np.cos(0.7) * 0.7 + np.sin(0.7))
    near(mx.checkpoint(f)(x, k=3), 3 * np.sin(0.7) * 0.7)
    assert len(calls) == 1
    near(mx.grad(lambda x: mx.checkpoint(f)(x, k=3))(x), want)
    assert len(calls) == 3
    near(mx.compile(mx.grad(lambda x: mx.checkpoint(f)(x, k=3)))(x), want)
    near(mx.grad(mx.grad(mx.checkpoint(f)))(x), 2 * np.cos(0.7) - 0.7 * np.sin(0.7))
    near(mx.jvp(mx.checkpoint(f), [x], [mx.array(1.0)])[1][0], want / 3)
    near(mx.vmap(mx.grad(mx.checkpoint(f)))(mx.stack([x, x])), [want / 3] * 2)
    near(
        mx.grad(lambda xs: mx.sum(mx.vmap(mx.checkpoint(f))(xs)))(mx.stack([x, x])), [want / 3] * 2
    )


def test_checkpoint_of_containers_captures_and_chains():
    w = mx.array([2.0, 3.0])

    def loss(w, d):
        layer = mx.checkpoint(lambda d: {"y": mx.sin(d["x"] * w), "n": 3})
        for _ in range(3):
            d = {"x": layer(d)["y"] + d["x"]}
        return mx.sum(d["x"])

    def plain(w, d):
        x = d["x"]
        for _ in range(3):
            x = mx.sin(x * w) + x
        return mx.sum(x)

    d = {"x": mx.array([0.3, 0.4])}
    got = mx.grad(loss, argnums=(0, 1))(w, d)
    want = mx.grad(plain, argnums=(0, 1))(w, d)
    near(got[0], numbers(want[0]))  # of what it captured too
    near(got[1]["x"], numbers(want[1]["x"]))
    nested = mx.checkpoint(lambda x: mx.exp(mx.checkpoint(mx.sin)(x)))
    near(mx.grad(nested)(mx.array(0.5)), np.exp(np.sin(0.5)) * np.cos(0.5))
    with pytest.raises(TypeError):
        mx.checkpoint(3)


def test_checkpoint_saves_memory():
    n = 8
    ws = [mx.random.normal((64, 2048), key=mx.random.key(i)) * 0.1 for i in range(n)]
    vs = [mx.random.normal((2048, 64), key=mx.random.key(i)) * 0.1 for i in range(n)]
    x = mx.random.normal((256, 64), key=mx.random.key(99))
    mx.eval(ws, vs, x)

    def block(h, w, v):
        return mx.tanh(h @ w) @ v + h

    def loss(ws, vs, f):
        h = x
        for w, v in zip(ws, vs):
            h = f(h, w, v)
        return mx.mean(h * h)

    peaks, results = [], []
    for f in (block, mx.checkpoint(block)):
        step = mx.compile(mx.grad(lambda a, b, f=f: loss(a, b, f), argnums=(0, 1)))
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        gw, gv = step(ws, vs)
        mx.eval(gw, gv)
        peaks.append(mx.get_peak_memory() - before)
        results.append(numbers(gw[0]))
        del gw, gv
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-5)
    assert peaks[1] < 0.6 * peaks[0]
