"""Kernels that run on a product's rows while they are in the cache: one launch, the same numbers.

The kernel that takes a product's result runs with it, strip by strip (src/run/strips.c). What it computes
is what it would compute alone: compared bit for bit with the same operations evaluated one by one.
"""

import ferrule.core as mx
import ferrule.nn as nn
import numpy as np
import pytest

on_the_cpu = pytest.mark.cpu_only("strips are the CPU's")
pytestmark = on_the_cpu


@pytest.fixture
def two_threads():
    """Where there are few rows for many threads a kernel isn't joined."""
    threads = mx.num_threads()
    mx.set_num_threads(2)
    yield
    mx.set_num_threads(threads)


def kernels(f):
    return [k["ops"] for k in mx.explain(f, as_dict=True)[-1]["kernels"]]


def some(*shape, seed=0, dtype=mx.float32):
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return mx.array(x).astype(dtype)


def bits(x):
    return np.array(x.astype(mx.float32) if x.dtype == mx.bfloat16 else x).tobytes()


def stepwise(f, *args):
    """f(p, *rest) with p = args[0] @ args[1] evaluated before."""
    p = args[0] @ args[1]
    mx.eval(p)
    return f(p, *args[2:])


AFTER = {
    "bias": lambda p, b: p + b,
    "gelu": lambda p, b: nn.gelu(p + b),
    "residual": lambda p, b: mx.maximum(p, 0) + p * b,
    "softmax": lambda p, b: mx.softmax(p + b, axis=-1),
    "norm": lambda p, b: (
        (p - p.mean(-1, keepdims=True)) * mx.rsqrt(p.var(-1, keepdims=True) + 1e-5) * b
    ),
    "rows": lambda p, b: p.sum(-1),
    "argmax": lambda p, b: mx.argmax(p, axis=-1),
    "cast": lambda p, b: (p + b).astype(mx.float16),
    "columns": lambda p, b: p.sum(0) + b,
    "turned": lambda p, b: p.T * 2,
    "all": lambda p, b: p.sum(),
    "both": lambda p, b: p + p.T[: p.shape[0] and 1, :1],
    "part": lambda p, b: p[1:] * 2,
    "reshaped": lambda p, b: mx.abs(p).reshape(-1),
}
SIZES = [
    (64, 64, 64),
    (1, 7, 300),
    (13, 40, 70),
    (47, 33, 65),
    (48, 48, 48),
    (97, 50, 31),
    (256, 384, 10),
]
SIZES += [(200, 385, 130), (1000, 16, 64), (193, 64, 1)]


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("m,k,n", SIZES)
def test_same_as_alone(after, m, k, n):
    a, b, c = some(m, k, seed=1), some(k, n, seed=2), some(n, seed=3)
    f = AFTER[after]
    whole = mx.compile(lambda a, b, c: f(a @ b, c))
    assert bits(whole(a, b, c)) == bits(stepwise(f, a, b, c))
    assert bits(f(a @ b, c)) == bits(stepwise(f, a, b, c))


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.float32])
@pytest.mark.parametrize("turned", [False, True])
def test_dtypes_and_layouts(dtype, turned):
    a, b = some(130, 70, seed=1, dtype=dtype), some(70, 60, seed=2, dtype=dtype)
    if turned:
        a, b = some(70, 130, seed=1, dtype=dtype).T, some(60, 70, seed=2, dtype=dtype).T
    f = mx.compile(lambda a, b: mx.maximum(a @ b, 0) + 1)
    assert bits(f(a, b)) == bits(stepwise(lambda p: mx.maximum(p, 0) + 1, a, b))


def test_linear_with_gelu_is_one_kernel(two_threads):
    layer, x = nn.Linear(96, 128), some(256, 96)
    f = mx.compile(lambda x: nn.gelu(layer(x)))
    y = f(x)
    assert len(kernels(f)) == 1, kernels(f)
    z = np.array(x) @ np.array(layer.weight).T + np.array(layer.bias)
    np.testing.assert_allclose(np.array(y), np.array(nn.gelu(mx.array(z))), rtol=2e-5, atol=2e-5)
    x, before = some(256, 96, seed=7), mx.kernel_count()
    mx.eval(nn.gelu(layer(x)))
    assert mx.kernel_count() - before == 1


def test_what_others_read_is_stored():
    a, b = some(128, 64, seed=1), some(64, 96, seed=2)

    @mx.compile
    def f(a, b):
        p = a @ b
        return p, mx.exp(-mx.abs(p)), (p @ b.T).sum()

    p, q, r = f(a, b)
    np.testing.assert_allclose(np.array(p), np.array(a) @ np.array(b), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(np.array(q), np.array(mx.exp(-mx.abs(p))))
    np.testing.assert_allclose(r.item(), (np.array(p) @ np.array(b).T).sum(), rtol=1e-3)


def test_batches():
    a, b, c = some(5, 70, 40, seed=1), some(5, 40, 33, seed=2), some(33, seed=3)
    f = mx.compile(lambda a, b, c: mx.tanh(a @ b + c))
    assert bits(f(a, b, c)) == bits(stepwise(lambda p, c: mx.tanh(p + c), a, b, c))


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions(groups, two_threads):
    x, w, c = some(3, 17, 19, 8, seed=1), some(24, 3, 3, 8 // groups, seed=2), some(24, seed=3)
    f = mx.compile(lambda x, w, c: nn.relu(mx.conv2d(x, w, groups=groups) + c))
    p = mx.conv2d(x, w, groups=groups)
    mx.eval(p)
    assert bits(f(x, w, c)) == bits(nn.relu(p + c))
    assert len(kernels(f)) == (1 if groups == 1 else 2)


@pytest.mark.parametrize("n", [64, 200])
@pytest.mark.parametrize("side", ["left", "right", "both", "not"])
def test_state_written_in_place_is_not_read_after(n, side):
    """The new state may take the old one's memory only where the product doesn't read that."""
    state, x = {"w": some(n, n, seed=1)}, some(n, n, seed=2) / n
    mx.eval(state, x)

    def new(w):
        a, b = (w if side in ("left", "both") else x), (w if side in ("right", "both") else x)
        return mx.tanh(w * 0.5 + a @ b)

    def step():
        state["w"] = new(state["w"])

    want = [state["w"]]
    for _ in range(4):
        p = new(want[-1])
        mx.eval(p)
        want.append(p)
    want = want[-1] + 0
    mx.eval(want)
    state = {"w": some(n, n, seed=1)}
    run = mx.compile(step, inputs=state, outputs=state)
    for _ in range(4):
        run()
        mx.eval(state)
    np.testing.assert_allclose(np.array(state["w"]), np.array(want), rtol=1e-6, atol=1e-6)


def test_temporaries_of_the_product_live_as_long_as_its_strips():
    """A chain in which each result could lie where an operand lay."""
    n = 160
    a, b = some(n, n, seed=1) / 16, some(n, n, seed=2) / 16
    f = mx.compile(lambda a, b: _chain(a, b, lambda x: x))

    def stored(x):
        mx.eval(x)
        return x

    np.testing.assert_array_equal(np.array(f(a, b)), np.array(_chain(a, b, stored)))


def _chain(a, b, keep):
    x = keep(a + b)
    for _ in range(6):
        y = keep(mx.sin(keep(x @ b) + x))
        x = keep(mx.cos(keep(y @ x)) - y)
    return x


def test_explain_tells_of_both(two_threads):
    a, b = some(96, 96, seed=1), some(96, 96, seed=2)
    f = mx.compile(lambda a, b: mx.sqrt(mx.abs(a @ b)))
    f(a, b)
    (k,) = mx.explain(f, as_dict=True)[-1]["kernels"]
    assert k["ops"].split() == ["CONTRACT", "abs", "sqrt"]
    assert k["reads"] == 2 * 96 * 96 * 4 and k["writes"] == 96 * 96 * 4
    assert "1 kernels" in mx.explain(f)
