"""Kernels of a program that don't wait for each other are one launch (src/run/beside.c)."""

import ferrule.core as mx
import ferrule.optimizers as optim
import numpy as np
import pytest

pytestmark = pytest.mark.cpu_only("GPUs have launches of their own")


def kernels(f):
    return [k["ops"] for k in mx.explain(f, as_dict=True)[-1]["kernels"]]


def some(*shape, seed=0):
    return mx.array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("sizes", [[100000] * 16, [10, 5000, 70000, 1, 333, 12345], [7] * 40])
def test_an_update_of_all_parameters_is_one_launch(sizes):
    p = {str(i): some(n, seed=i) for i, n in enumerate(sizes)}
    g = {str(i): some(n, seed=100 + i) for i, n in enumerate(sizes)}
    state, own = {"p": dict(p)}, optim.Adam(1e-2)
    own.init(state["p"])
    mx.eval(state, own.state)

    def step(g):
        state["p"] = own.apply_gradients(g, state["p"])

    run = mx.compile(step, inputs=[state, own.state], outputs=[state, own.state])
    other, q = optim.Adam(1e-2), dict(p)
    for _ in range(3):
        run(g)
        mx.eval(state, own.state)
        q = other.apply_gradients(g, q)
        mx.eval(q, other.state)
    assert len(kernels(run)) <= 2, kernels(run)
    for name in p:
        np.testing.assert_allclose(
            np.array(state["p"][name]), np.array(q[name]), rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("n", [5, 3000, 200000])
def test_each_reads_what_the_other_replaces(n):
    """In one launch nothing may be written over what another kernel of it still reads."""
    state = {"a": some(n, seed=1), "b": some(n + 1, seed=2), "c": some(n, seed=3)}
    a, b, c = (np.array(state[k]) for k in "abc")
    mx.eval(state)

    def step():
        a, b, c = state["a"], state["b"], state["c"]
        state["a"] = mx.sin(a) + b[1:]
        state["b"] = mx.concatenate([c[:1], mx.cos(a) + b[1:]])
        state["c"] = c[::-1] * 0.5 + a

    run = mx.compile(step, inputs=state, outputs=state)
    for _ in range(5):
        run()
        mx.eval(state)
        a, b, c = (
            np.sin(a) + b[1:],
            np.concatenate([c[:1], np.cos(a) + b[1:]]),
            c[::-1] * np.float32(0.5) + a,
        )
    for name, want in zip("abc", (a, b, c)):
        np.testing.assert_allclose(np.array(state[name]), want, rtol=1e-5, atol=1e-5)


def test_one_after_the_other_where_one_waits():
    x, y = some(1000, seed=1), some(37, seed=2)

    @mx.compile
    def f(x, y):
        s = mx.sum(x)
        t = mx.max(y)
        return s * t + y, mx.exp(y) * s, mx.sort(y) + t

    a, b, c = f(x, y)
    p, q = np.array(x), np.array(y)
    np.testing.assert_allclose(np.array(a), p.sum() * q.max() + q, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(np.array(b), np.exp(q) * p.sum(), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(np.array(c), np.sort(q) + q.max(), rtol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_same_bits_for_any_number_of_threads(threads):
    before = mx.num_threads()
    x = [some(n, seed=n) for n in (70001, 3, 512, 99999, 1, 4096)]
    try:
        got = []
        for n in (2, threads):
            mx.set_num_threads(n)
            f = mx.compile(lambda *x: [mx.tanh(v) * mx.sqrt(mx.abs(v)) for v in x])
            got.append([np.array(v).tobytes() for v in f(*x)])
            assert len(kernels(f)) == 1
        assert got[0] == got[1]
    finally:
        mx.set_num_threads(before)


def test_explain_and_graph():
    f = mx.compile(lambda *x: [v + 1 for v in x])
    f(*[some(10 + i) for i in range(3)])
    (k,) = mx.explain(f, as_dict=True)[-1]["kernels"]
    assert k["ops"] == "3 x add" and k["reads"] == k["writes"] == 4 * (10 + 11 + 12)
