"""compile(check=True), and debug_nans: which operation, and where."""

import subprocess
import sys

import ferrule.core as mx
import numpy as np
import pytest


@pytest.fixture
def trap():
    mx.debug_nans()
    yield
    mx.debug_nans(False)


def quotient(x, y):
    scaled = mx.exp(x) * 2
    root = mx.sqrt(y - 1)  # the line that is told
    return mx.sum(scaled + root / 3)


HERE = quotient.__code__.co_firstlineno + 2


def test_the_operation_and_its_line(trap):
    x, bad, good = mx.ones((3,)), mx.array([2.0, 0.5, 3.0]), mx.array([2.0, 1.5, 3.0])
    for f in (quotient, mx.compile(quotient)):
        with pytest.raises(ValueError, match=rf"sqrt, giving float32\[3\], at .*:{HERE}, makes"):
            mx.eval(f(x, bad))
        assert np.isfinite(f(x, good).item())
    with pytest.raises(ValueError, match="in quotient"):
        mx.compile(quotient)(x, bad)


def test_what_comes_in_is_no_error(trap):
    f = mx.compile(lambda x: x * 2 + 1)
    assert np.isnan(np.array(f(mx.array([float("nan"), 1.0])))).tolist() == [True, False]
    y = mx.array([float("nan")]) + 1
    mx.eval(y)
    assert mx.compile(lambda x: x / 0)(mx.array([1.0])).item() == float("inf")
    with pytest.raises(ValueError, match="divide"):
        mx.compile(lambda x: x / 0)(mx.array([0.0]))
    with pytest.raises(ValueError, match="subtract"):
        mx.compile(lambda x: mx.max(x * 1e30 * 1e30 - x * 1e30 * 1e30))(mx.array([1.0]))


def test_state_stays(trap):
    state = [mx.array(-1.0)]

    @mx.compile
    def ok(x):
        return x

    def step():
        state[0] = mx.log(state[0])

    f = mx.compile(step, inputs=state, outputs=state)
    with pytest.raises(ValueError, match="log"):
        f()
    assert state[0].item() == -1
    state[0] = mx.array(1.0)
    f()
    assert state[0].item() == 0


def test_off_again():
    f = mx.compile(lambda x: mx.log(x))
    x = mx.array([-1.0])
    assert np.isnan(f(x).item())
    mx.debug_nans(True)
    try:
        with pytest.raises(ValueError, match="log"):
            f(x)
    finally:
        mx.debug_nans(False)
    assert np.isnan(f(x).item())


def test_shapeless_is_watched_too():
    f = mx.compile(lambda x: mx.log(x) * 2, shapeless=True)
    for n in (3, 4):
        f(mx.ones((n,)))
    mx.debug_nans(True)
    try:
        for n in (3, 5):  # a size that a program is there for, and a new one
            with pytest.raises(ValueError, match="log"):
                f(-mx.ones((n,)))
            assert np.allclose(np.array(f(mx.ones((n,)))), 0)
    finally:
        mx.debug_nans(False)
    assert np.isnan(np.array(f(-mx.ones((5,))))).all()


def test_environment():
    program = "import ferrule.core as mx; print(mx.log(mx.array([-1.0])))"
    import os

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "FERRULE_TRAP_NAN": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode and "log, giving float32[1], at <string>:1, makes" in done.stderr


@pytest.mark.parametrize(
    "body",
    [
        lambda x: mx.softmax(x @ x.T, axis=-1).sum(axis=0)[::-1],
        lambda x: mx.grad(lambda y: mx.sum(mx.tanh(y) * y.mean()))(x),
        lambda x: (mx.concatenate([x, x * 2]), x.astype(mx.int32) + 3, x > 0),
        lambda x: mx.var(x, axis=0) + mx.random.normal((6,), key=mx.random.key(3)),
        lambda x: mx.where(x > 0, mx.log(x), float("-inf")),
        lambda x: x,
        lambda x: None,
    ],
)
def test_functions_that_are_right(body):
    x = mx.random.normal((5, 6), key=mx.random.key(1))
    want = body(x)
    got = mx.compile(body, check=True)(x)
    for w, g in zip(
        [want] if not isinstance(want, tuple) else want,
        [got] if not isinstance(got, tuple) else got,
    ):
        if w is not None:
            assert np.allclose(np.array(w), np.array(g), rtol=1e-4, atol=1e-4, equal_nan=True)


def test_a_difference_is_named():
    # In one kernel the sum is not rounded to float16, by itself it is.
    def f(x):
        return ((x + 2048) - 2048) * 2

    checked = mx.compile(f, check=True)
    assert np.array_equal(np.array(checked(mx.array([0.25, 1.0]))), [0.5, 2])
    line = f.__code__.co_firstlineno + 1
    with pytest.raises(
        RuntimeError, match=rf"check of 'f': subtract, .*float16\[2\], at .*:{line}"
    ):
        checked(mx.array([0.25, 1.0]).astype(mx.float16))
    assert np.array_equal(np.array(checked(mx.array([0.5, 1.0]))), [1, 2])


def test_a_difference_leaves_the_state():
    state = [mx.array(0.25).astype(mx.float16)]

    def f():
        state[0] = ((state[0] + 2048) - 2048) * 2

    checked = mx.compile(f, inputs=state, outputs=state, check=True)
    before = state[0]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="check of 'f'"):
            checked()
        assert state[0] is before and before.item() == 0.25


def test_check_of_numbers_and_state():
    state = {"n": mx.array([1.0, 2.0])}

    def f(x, k):
        state["n"] = state["n"] * k + x
        return state["n"].sum()

    g = mx.compile(f, inputs=state, outputs=state, check=True)
    for k in (0.25, 0.3, 0.35):
        g(mx.ones((2,)), k)
    assert state["n"].shape == (2,)
