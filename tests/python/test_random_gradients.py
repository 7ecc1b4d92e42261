"""Random graphs: the gradient against a difference, alone, compiled, batched and of second order."""

import ferrule.core as mx
import numpy as np
import pytest

GRAPHS = 500
SHAPE = (3, 4)
MASK = mx.array(np.arange(12).reshape(SHAPE) % 3 > 0)
INDEX = mx.array([2, 0, 2])


def updated(r, x, y):
    z = x * 1.0
    z[1:, ::2] = y[1:, ::2]
    return z


# Each takes arrays of SHAPE and gives one, smooth and about as large.
OPS = [
    lambda r, x, y: x + y,
    lambda r, x, y: x - 0.5 * y,
    lambda r, x, y: mx.tanh(x) * y,
    lambda r, x, y: x / (2 + mx.square(y)),
    lambda r, x, y: mx.sin(x + y),
    lambda r, x, y: mx.exp(-mx.square(x)),
    lambda r, x, y: mx.log1p(mx.square(x)) + y,
    lambda r, x, y: mx.sqrt(1 + mx.square(x)) - y,
    lambda r, x, y: mx.erf(x),
    lambda r, x, y: mx.sigmoid(x) * 2,
    lambda r, x, y: mx.arctan2(x, 2 + mx.square(y)),
    lambda r, x, y: mx.logaddexp(x, y),
    lambda r, x, y: (1.5 + mx.square(x)) ** mx.tanh(y),
    lambda r, x, y: mx.where(MASK, x, y),
    lambda r, x, y: x[::-1] + y[:, ::-1],
    lambda r, x, y: mx.concatenate([x[1:], y[:1]]),
    lambda r, x, y: mx.concatenate([y[:, 2:], x[:, :2]], axis=1),
    lambda r, x, y: mx.take(x, INDEX, axis=0),
    lambda r, x, y: x - mx.mean(x, axis=r % 2, keepdims=True),
    lambda r, x, y: x * mx.sum(mx.tanh(y), axis=1, keepdims=True),
    lambda r, x, y: mx.softmax(x, axis=r % 2) + y,
    lambda r, x, y: x + mx.logsumexp(y, axis=0),
    lambda r, x, y: mx.var(x, axis=1, keepdims=True) + y,
    lambda r, x, y: (x.reshape(4, 3) + 1).T,
    lambda r, x, y: mx.tanh(x @ y.T) @ x,
    lambda r, x, y: mx.pad(x[:, 1:3], ((0, 0), (1, 1))) + y,
    lambda r, x, y: mx.broadcast_to(x[r % 3], SHAPE) * mx.tanh(y),
    lambda r, x, y: mx.prod(mx.tanh(x), axis=0) + y,
    lambda r, x, y: mx.max(x, axis=1, keepdims=True) + y,
    lambda r, x, y: mx.stop_gradient(x) * 0 + y,
    lambda r, x, y: mx.checkpoint(lambda a, b: mx.sin(a) * b)(x, y),
    lambda r, x, y: mx.vmap(lambda a, b: mx.softmax(a) * mx.sum(b))(x, mx.tanh(y)),
    lambda r, x, y: mx.compile(lambda a, b: mx.tanh(a) + b)(x, y),
    updated,
]


def graph(seed):
    rng = np.random.default_rng(seed)
    steps = [(OPS[rng.integers(len(OPS))], int(rng.integers(100)), *rng.integers(0, 2 + i, 2))
             for i in range(int(rng.integers(2, 9)))]  # fmt: skip
    weights = rng.normal(size=SHAPE)

    def f(a, b):
        made = [a, b]
        for op, r, i, j in steps:
            made.append(op(r, made[i], made[j]))
        return mx.sum(mx.tanh(made[-1]) * mx.array(weights, dtype=mx.float64))

    return f, rng.normal(size=(4,) + SHAPE)


def dot(grads, directions):
    return sum(float(mx.sum(g * d).item()) for g, d in zip(grads, directions))


def slope(f, at, along, h=1e-5):
    ends = [f(*[x + s * h * d for x, d in zip(at, along)]).item() for s in (1, -1)]
    return (ends[0] - ends[1]) / (2 * h)


@pytest.mark.parametrize("block", range(10))
def test_random_graphs(block):
    for seed in range(block * GRAPHS // 10, (block + 1) * GRAPHS // 10):
        f, values = graph(seed)
        a, b, u, v = [mx.array(x, dtype=mx.float64) for x in values]
        grad = mx.grad(f, argnums=(0, 1))
        grads = grad(a, b)
        want = slope(f, (a, b), (u, v))
        scale = 1e-6 * (1 + abs(want))
        assert abs(dot(grads, (u, v)) - want) < 10 * scale, f"graph {seed}"
        jvp = mx.jvp(f, [a, b], [u, v])[1][0].item()
        assert abs(jvp - dot(grads, (u, v))) < scale, f"jvp of graph {seed}"
        if seed % 5 == 0:
            again = mx.compile(grad)(a, b)
            assert abs(dot(again, (u, v)) - dot(grads, (u, v))) < scale, f"compiled graph {seed}"
        if seed % 5 == 1:
            batch = mx.vmap(grad, in_axes=(0, None))(mx.stack([a, u]), b)
            assert abs(dot([g[0] for g in batch], (u, v)) - dot(grads, (u, v))) < scale, (
                f"batch of graph {seed}"
            )
        if seed % 5 == 2:
            g = lambda a, b: mx.sum(grad(a, b)[0] * v)  # noqa: B023, E731
            second = mx.grad(g, argnums=(0, 1))(a, b)
            want = slope(g, (a, b), (u, v))
            assert abs(dot(second, (u, v)) - want) < 1e-4 * (1 + abs(want)), (
                f"second of graph {seed}"
            )
