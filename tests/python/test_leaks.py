"""References and memory: what is made goes again."""

import gc
import sys

import ferrule.core as mx
import ferrule.nn as nn
import numpy as np
import pytest

f = mx.compile(nn.gelu)
structured = mx.compile(lambda d, n: {"a": [d["x"] * n, "text", None], "b": (d["x"],)})
X = mx.array(np.linspace(-1, 1, 64).astype(np.float32))


def raises(kind, function):
    with pytest.raises(kind):
        function()


def in_place():
    x = mx.array([1.0, 2.0])
    x += 1
    x *= 2.0
    return x.tolist()


BODIES = {
    "operators": lambda: (X + 1) * 2 - X / 3,
    "eval": lambda: mx.eval(X + 1),
    "trees": lambda: mx.eval([X + 1, {"a": (X * 2,)}]),
    "reduce": lambda: X.sum().item() + X.mean(axis=0).item(),
    "index": lambda: X[1:, None][..., 0].tolist(),
    "lists": lambda: mx.array([[1, 2.5], [3, 4]]).tolist(),
    "arrays in lists": lambda: mx.array([X, X]),
    "numpy": lambda: np.array(mx.array(np.ones((3, 3)).T)),
    "buffer": lambda: memoryview(X + 1).tolist(),
    "repr": lambda: repr(X + 1),
    "compiled": lambda: f(X),
    "structured": lambda: structured({"x": X, "y": [1, None]}, 2),
    "keywords": lambda: structured(d={"x": X}, n=2.5),
    "random": lambda: mx.random.uniform(1, 2, (5,)).tolist(),
    "in place": in_place,
    "power": lambda: X**5,
    "array_equal": lambda: mx.array_equal(X, X).item(),
    "full": lambda: mx.full((3,), mx.array(1.0)),
    "errors": lambda: raises(ValueError, lambda: X + mx.zeros((7,))),
    "bad operand": lambda: raises(TypeError, lambda: X + "a"),
    "bad list": lambda: raises(ValueError, lambda: mx.array([[1, 2], [3]])),
    "bad argument": lambda: raises(TypeError, lambda: f({"a": [X, set()]})),
    "bad keyword": lambda: raises(TypeError, lambda: mx.sum(X, foo=1)),
    "bad index": lambda: raises(IndexError, lambda: X[100]),
    "new function": lambda: mx.compile(lambda x: x + 1)(X),
    "failing function": lambda: raises(ZeroDivisionError, lambda: mx.compile(lambda x: 1 / 0)(X)),
    "printing function": lambda: raises(mx.TraceError, lambda: mx.compile(lambda x: repr(x))(X)),
    "bad result": lambda: raises(TypeError, lambda: mx.compile(lambda x: [x, {1}])(X)),
}


@pytest.mark.parametrize("name", BODIES)
def test_nothing_stays(name):
    body = BODIES[name]
    for _ in range(10):
        body()
    gc.collect()
    blocks, memory = sys.getallocatedblocks(), mx.get_active_memory()
    for _ in range(200):
        body()
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 100
    assert mx.get_active_memory() - memory <= 4096


def test_reference_counts():
    names = [None, True, mx.float32, X, "text"]
    names = [n for n in names if sys.getrefcount(n) < 2**30]  # immortal ones don't count
    before = [sys.getrefcount(n) for n in names]
    for _ in range(100):
        for body in BODIES.values():
            body()
    gc.collect()
    after = [sys.getrefcount(n) for n in names]
    assert all(b - a < 50 for a, b in zip(before, after))
