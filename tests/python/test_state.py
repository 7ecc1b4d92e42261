"""mx.compile with captured state, number arguments that vary, and mx.explain."""

import collections
import functools
import gc
import math
import threading
import weakref
from functools import partial

import ferrule.core as mx
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def compiling():
    mx.enable_compile()
    yield
    mx.enable_compile()


def traced_by(function, *args, **keywords):
    before = mx.counters()["traces"]
    function(*args, **keywords)
    return mx.counters()["traces"] - before


# ---- the document's programs ---------------------------------------------------------------


def test_pure_functions():
    state = []

    @mx.compile
    def fun(x, y):
        z = x + y
        state.append(z)
        return mx.exp(z)

    fun(mx.array(1.0), mx.array(2.0))
    with pytest.raises(mx.TraceError):
        print(state)


def test_state_returned():
    state = []

    @mx.compile
    def fun(x, y):
        z = x + y
        state.append(z)
        return mx.exp(z), state

    _, state = fun(mx.array(1.0), mx.array(2.0))
    assert str(state) == "[array(3, dtype=float32)]"


def test_state_captured_as_output():
    state = []

    @partial(mx.compile, outputs=state)
    def fun(x, y):
        z = x + y
        state.append(z)
        return mx.exp(z), state

    fun(mx.array(1.0), mx.array(2.0))
    assert str(state) == "[array(3, dtype=float32)]"
    fun(mx.array(3.0), mx.array(2.0))
    assert str(state) == "[array(5, dtype=float32)]"


def test_state_is_constant_unless_captured():
    state = [mx.array(1.0)]

    @mx.compile
    def fun(x):
        return x + state[0]

    assert str(fun(mx.array(1.0))) == "array(2, dtype=float32)"
    state[0] = mx.array(5.0)
    assert str(fun(mx.array(1.0))) == "array(2, dtype=float32)"


def test_state_captured_as_input():
    state = [mx.array(1.0)]

    @partial(mx.compile, inputs=state)
    def fun(x):
        return x + state[0]

    assert str(fun(mx.array(1.0))) == "array(2, dtype=float32)"
    state[0] = mx.array(5.0)
    assert traced_by(lambda: fun(mx.array(1.0))) == 0
    assert str(fun(mx.array(1.0))) == "array(6, dtype=float32)"


# ---- containers ------------------------------------------------------------------------------


def test_training_loop():
    model = {"w": mx.array([0.5, -0.5]), "layers": [{"b": mx.array(0.0)}]}
    optimizer = {}
    state = [model, optimizer]
    layer = model["layers"][0]

    def update(x):
        grad = x * model["w"] + layer["b"]
        old = optimizer.get("v")
        optimizer["v"] = grad if old is None else old * 0.9 + grad
        model["w"] = model["w"] - 0.1 * optimizer["v"]
        layer["b"] = layer["b"] + 1.0
        return grad

    step = mx.compile(update, inputs=state, outputs=state)
    x = mx.array([1.0, 2.0])
    grads = []
    counts = [traced_by(lambda: grads.append(step(x).tolist())) for _ in range(5)]
    assert counts == [1, 1, 0, 0, 0]
    compiled_state = (model["w"].tolist(), layer["b"].item(), optimizer["v"].tolist())
    assert state[0] is model and state[1] is optimizer and model["layers"][0] is layer
    model["w"], layer["b"] = mx.array([0.5, -0.5]), mx.array(0.0)
    optimizer.clear()
    expected = [update(x).tolist() for _ in range(5)]
    assert grads == [pytest.approx(e, rel=1e-5) for e in expected]
    assert compiled_state[0] == pytest.approx(model["w"].tolist(), rel=1e-5)
    assert compiled_state[1] == 5
    assert compiled_state[2] == pytest.approx(optimizer["v"].tolist(), rel=1e-5)


def test_order_of_keys_stays():
    state = {"z": mx.array(1.0), "a": mx.array(2.0), "m": {"q": mx.array(3.0)}}

    @partial(mx.compile, inputs=state, outputs=state)
    def fun():
        state["a"] = state["a"] + state["z"]
        state["new"] = state["m"]["q"] * 2

    for _ in range(3):
        fun()
        assert list(state) == ["z", "a", "m", "new"]
    assert (state["a"].item(), state["new"].item()) == (5.0, 6.0)


def test_keys_removed():
    state = {"a": mx.array(1.0)}

    @partial(mx.compile, inputs=state, outputs=state)
    def fun():
        state["b"] = state.pop("a") + 1

    fun()
    assert list(state) == ["b"] and state["b"].item() == 2
    state.clear()
    state["a"] = mx.array(5.0)
    assert traced_by(fun) == 0
    assert list(state) == ["b"] and state["b"].item() == 6


def test_structure_that_changes_later():
    state = [mx.array(1.0)]

    @partial(mx.compile, inputs=state)
    def fun():
        return sum(state[1:], state[0])

    assert fun().item() == 1
    state.append(mx.array(2.0))
    assert traced_by(lambda: fun()) == 1
    assert fun().item() == 3
    state[1] = mx.array([2.0, 3.0])
    assert fun().tolist() == [3.0, 4.0]
    state[:] = [mx.array(7.0)]
    assert traced_by(lambda: fun()) == 0
    assert fun().item() == 7


def test_growing_state():
    state = [mx.array(1.0)]

    @partial(mx.compile, inputs=state, outputs=state)
    def fun():
        state.append(state[-1] * 2)

    for _ in range(4):
        fun()
    assert [x.item() for x in state] == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_constants_in_state():
    state = {"lr": 0.5, "name": "a", "x": mx.array(2.0), "none": None, "count": 0}

    @partial(mx.compile, inputs=state, outputs=state)
    def fun():
        state["count"] += 1
        return state["x"] * state["lr"] if state["name"] == "a" else state["x"]

    assert fun().item() == 1 and state["count"] == 1
    assert traced_by(fun) == 1 and state["count"] == 2
    state["name"], state["count"] = "b", 0
    assert fun().item() == 2
    state["name"], state["count"] = "a", 0
    assert traced_by(fun) == 0 and state["count"] == 1


def test_the_same_array_twice():
    x = mx.array([1.0, 2.0])
    state = {"a": x, "b": x}

    @partial(mx.compile, inputs=state, outputs=state)
    def fun():
        same = state["a"] is state["b"]
        state["a"] += 1.0
        return same, state["b"] * 1.0

    same, b = fun()
    assert same and b.tolist() == [2.0, 3.0]
    assert state["a"] is state["b"] and state["a"].tolist() == [2.0, 3.0]
    same, b = fun()
    assert same and b.tolist() == [3.0, 4.0] and state["a"] is state["b"]
    state["a"], state["b"] = mx.array([1.0, 2.0]), mx.array([1.0, 2.0])
    same, b = fun()
    assert not same and b.tolist() == [1.0, 2.0] and state["a"].tolist() == [2.0, 3.0]


def test_the_same_container_twice_and_cycles():
    inner = {"v": mx.array(1.0)}
    state = {"a": inner, "b": [inner]}
    inner["up"] = state

    @partial(mx.compile, inputs=state, outputs=state)
    def fun():
        state["a"]["v"] = state["b"][0]["v"] + 1
        return state["a"]["v"]

    for n in range(3):
        assert fun().item() == n + 2.0
        assert state["a"] is inner and state["b"][0] is inner and inner["up"] is state
        assert inner["v"].item() == n + 2.0


def test_containers_that_move():
    a, b = {"v": mx.array(1.0)}, {"v": mx.array(2.0)}
    state = {"a": a, "b": b}

    @partial(mx.compile, inputs=state, outputs=state)
    def swap():
        state["a"], state["b"] = state["b"], state["a"]
        state["a"]["v"] = state["a"]["v"] * 10

    swap()
    assert state["a"] is b and state["b"] is a
    assert (a["v"].item(), b["v"].item()) == (1.0, 20.0)
    swap()
    assert state["a"] is a and state["b"] is b
    assert (a["v"].item(), b["v"].item()) == (10.0, 20.0)


def test_a_new_container_in_the_place_of_a_shared_one():
    shared = [mx.array(1.0)]
    state = {"a": shared, "b": shared}

    @partial(mx.compile, inputs=state, outputs=state)
    def fun():
        state["a"] = [state["a"][0] + 5]

    for _ in range(2):
        shared[0] = mx.array(1.0)
        state["a"] = shared
        fun()
        assert state["b"] is shared and shared[0].item() == 1
        assert state["a"] is not shared and state["a"][0].item() == 6


Point = collections.namedtuple("Point", "x y")


def test_tuples_in_state():
    state = [(mx.array(1.0), Point(mx.array(2.0), "name")), 3]
    pair = ([mx.array(1.0)], {"k": mx.array(2.0)})

    @partial(mx.compile, inputs=(state, pair), outputs=(state, pair))
    def fun():
        (a, p), n = state
        state[0] = (a + n, Point(p.x * 2, p.y))
        pair[0].append(pair[1]["k"])
        pair[1]["k"] = pair[0][0] + 1

    for _ in range(2):
        state[:] = [(mx.array(1.0), Point(mx.array(2.0), "name")), 3]
        pair[0][:] = [mx.array(1.0)]
        pair[1]["k"] = mx.array(9.0)
        fun()
        assert state[0][0].item() == 4 and state[0][1].x.item() == 4
        assert type(state[0][1]) is Point and state[0][1].y == "name"
        assert [v.item() for v in pair[0]] == [1.0, 9.0] and pair[1]["k"].item() == 2


def test_outputs_alone_do_not_enter_the_key():
    log = []

    @partial(mx.compile, outputs=log)
    def fun(x):
        log[:] = [x * 2, {"n": [x]}]
        return x

    fun(mx.array(1.0))
    log.extend([mx.array(3.0), "anything"])
    assert traced_by(fun, mx.array(4.0)) == 0
    assert len(log) == 2 and log[0].item() == 8 and log[1]["n"][0].item() == 4


def test_numpy_arrays_in_state():
    state = [np.array([1.0, 2.0], np.float32)]

    @partial(mx.compile, inputs=state, outputs=state)
    def fun():
        state[0] = state[0] * 2

    fun()
    fun()
    assert isinstance(state[0], mx.array) and state[0].tolist() == [4.0, 8.0]


def test_no_arrays_at_all():
    state = {}

    @partial(mx.compile, inputs=state, outputs=state)
    def fun():
        state["n"] = state.get("n", 0) + 1

    fun()
    fun()
    assert state == {"n": 2}


def test_large_state():
    state = {f"layer {i}": {"w": mx.array([float(i), 1.0])} for i in range(300)}

    @partial(mx.compile, inputs=state, outputs=state)
    def fun():
        for layer in state.values():
            layer["w"] = layer["w"] + 1.0

    for _ in range(3):
        fun()
    assert [v["w"].tolist() for v in state.values()] == [[i + 3.0, 4.0] for i in range(300)]


def test_two_functions_of_one_state():
    state = {"w": mx.array(1.0)}
    step = mx.compile(lambda: state.update(w=state["w"] * 2), inputs=state, outputs=state)
    show = mx.compile(lambda: state["w"] + 0.0, inputs=state)
    for n in range(1, 4):
        step()
        assert show().item() == 2.0**n


def test_same_containers_same_programs():
    state = [mx.array(1.0)]

    def fun(x):
        return x + state[0]

    first = mx.compile(fun, inputs=state)
    assert traced_by(first, mx.array(1.0)) == 1
    assert traced_by(mx.compile(fun, inputs=state), mx.array(1.0)) == 0
    assert traced_by(mx.compile(fun, inputs=[state]), mx.array(1.0)) == 1
    assert traced_by(mx.compile(first, inputs=state), mx.array(1.0)) == 0
    assert mx.compile(fun)(mx.array(1.0)).item() == 2
    state[0] = mx.array(3.0)
    assert mx.compile(fun)(mx.array(1.0)).item() == 2
    assert first(mx.array(1.0)).item() == 4


def test_state_lives_no_longer_than_its_function():
    class Container(dict):
        pass

    def make():
        state = Container(w=mx.zeros((1000, 1000)) + 1)
        fun = mx.compile(lambda: state["w"] + 1, inputs=state)
        fun()
        return weakref.ref(state), weakref.ref(fun)

    held, reference = make()
    gc.collect()
    assert held() is None and reference() is None


# ---- inline --------------------------------------------------------------------------------------


def test_disabled():
    state = [mx.array(1.0)]

    @partial(mx.compile, inputs=state, outputs=state)
    def fun(x):
        state[0] = state[0] + float(x)

    mx.disable_compile()
    fun(mx.array(2.0))
    assert state[0].item() == 3


def test_within_a_compiled_function():
    state = {"w": mx.array(2.0)}

    @partial(mx.compile, inputs=state, outputs=state)
    def inner(x):
        state["w"] = state["w"] + 1
        return x * state["w"]

    @partial(mx.compile, inputs=state, outputs=state)
    def outer(x):
        return inner(inner(x))

    assert outer(mx.array(1.0)).item() == 12 and state["w"].item() == 4
    assert traced_by(outer, mx.array(1.0)) == 0
    assert state["w"].item() == 6


def test_a_function_that_calls_itself():
    state = {"n": 3, "x": mx.array(1.0)}

    def step():
        state["x"] = state["x"] * 2
        state["n"] -= 1
        if state["n"]:
            fun()

    fun = mx.compile(step, inputs=state, outputs=state)
    fun()
    assert state["n"] == 0 and state["x"].item() == 8


# ---- errors --------------------------------------------------------------------------------------


def snapshot(state):
    return {k: (list(v) if isinstance(v, list) else v) for k, v in state.items()}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: 1 / 0,
        lambda state: state["a"].item(),
        lambda state: {1},
        lambda state: state.update(a={1}),
        lambda state: mx.array([1.0, 2.0]) + mx.array([1.0, 2.0, 3.0]),
    ],
)
def test_errors_leave_the_containers(spoil):
    state = {"a": mx.array(1.0), "l": [mx.array(2.0), 5]}
    nested, fail = state["l"], [True]

    @partial(mx.compile, inputs=state, outputs=state)
    def fun():
        state["new"] = state["a"] + 1
        nested.append(state["a"])
        nested[0] = nested[0] * 2
        return spoil(state) if fail[0] else None

    before = snapshot(state)
    for _ in range(2):
        with pytest.raises((ZeroDivisionError, mx.TraceError, TypeError, ValueError)):
            fun()
        assert list(state) == ["a", "l"] and state["l"] is nested
        now = snapshot(state)
        assert now["a"] is before["a"]
        assert len(nested) == 2 and nested[0] is before["l"][0] and nested[1] == 5
    fail[0] = False
    fun()
    assert state["new"].item() == 2 and nested[0].item() == 4 and nested[2].item() == 1


def test_wrong_captures():
    for wrong in (3, "a", mx.array(1.0), {1}, (mx.array(1.0),)):
        with pytest.raises(TypeError, match="inputs"):
            mx.compile(lambda: None, inputs=wrong)
        with pytest.raises(TypeError, match="outputs"):
            mx.compile(lambda: None, outputs=wrong)
    fun = mx.compile(lambda: None, inputs=[{"a": [object()]}])
    with pytest.raises(TypeError, match=r"inputs\[0\]\['a'\]\[0\] is a object"):
        fun()
    with pytest.raises(TypeError):
        mx.compile(lambda: None, [], [], False, [])
    assert mx.compile(lambda: 3, inputs=None, outputs=None)() == 3


# ---- threads -------------------------------------------------------------------------------------


def test_threads_with_one_state():
    state = {"n": mx.array(0), "v": mx.zeros((1000,))}

    @partial(mx.compile, inputs=state, outputs=state)
    def fun(x):
        state["n"] = state["n"] + 1
        state["v"] = state["v"] + x
        return state["n"]

    seen, errors = [], []

    def work():
        try:
            for _ in range(50):
                seen.append(fun(mx.array(1.0)).item())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    assert sorted(seen) == list(range(1, 201))
    assert state["n"].item() == 200 and state["v"].tolist() == [200.0] * 1000


# ---- numbers -------------------------------------------------------------------------------------


def test_a_learning_rate():
    @mx.compile
    def step(w, g, lr):
        return w - lr * g

    w, g = mx.array([1.0, 2.0]), mx.array([10.0, 20.0])
    rates = [0.1 * 0.9**n for n in range(10)]
    counts = []
    for lr in rates:
        counts.append(traced_by(lambda: step(w, g, lr)))
        assert step(w, g, lr).tolist() == (w - lr * g).tolist()
    assert counts == [1, 1] + [0] * 8
    assert "argument 2: one program serves all its values" in mx.explain(step)


def test_a_number_that_is_looked_at_is_tried_once():
    calls = []

    @mx.compile
    def fun(x, *, n, rate):
        calls.append(n)
        for _ in range(n):
            x = x * rate
        return x

    counts = [traced_by(lambda: fun(mx.ones((size,)), n=3, rate=0.3)) for size in (1, 2, 3)]
    assert counts == [1, 1, 1]
    counts = [traced_by(lambda: fun(mx.ones((size,)), n=4, rate=0.3)) for size in (1, 2, 3)]
    assert counts == [2, 1, 1]
    counts = [traced_by(lambda: fun(mx.ones((2,)), n=4, rate=r)) for r in (0.4, 0.6, 0.7, 0.8)]
    assert counts == [1, 0, 0, 0]
    assert "argument 'n': a program for each value" in mx.explain(fun)
    assert "argument 'rate': one program serves all its values" in mx.explain(fun)
    assert fun(mx.ones((1,)), n=3, rate=0.7).tolist() == (mx.ones((1,)) * 0.7 * 0.7 * 0.7).tolist()


def test_numbers_of_several_positions():
    @mx.compile
    def fun(x, a, *, b, c):
        return (x * a + b) / c

    x = mx.array([1.0, 2.0])
    for n in range(1, 12):
        a, b, c = 0.3 + n, 7.5 * n, n + 2
        assert fun(x, a, b=b, c=c).tolist() == ((x * a + b) / c).tolist()
    assert traced_by(lambda: fun(x, 99.0, b=98.0, c=97)) == 0
    y = mx.array([1, 2, 3])
    assert [traced_by(lambda: fun(y, 0.3 * n, b=5.5, c=9)) for n in range(4, 9)][2:] == [0] * 3
    assert fun(y, 0.7, b=0.25, c=9).tolist() == ((y * 0.7 + 0.25) / 9).tolist()


@pytest.mark.parametrize(
    "body",
    [
        lambda x, k: x * 2 if isinstance(k, float) else x * k,
        lambda x, k: x * k if isinstance(k, float) and k > 10 else x + k,
        lambda x, k: x * k if not isinstance(k, mx.array) and k > 10 else x + k,
        lambda x, k: x + k if k < 10 else x - k,
        lambda x, k: x * k if type(k) is float else x + k,
        lambda x, k: x * (k if type(k) is float else 3.0),
        lambda x, k: x * (1 - k),
        lambda x, k: x * math.atan(k),
        lambda x, k: x * -k,
        lambda x, k: x + len(f"{k}"),
        lambda x, k: x * {True: 2.0}.get(k, 5.0),
        lambda x, k: x * mx.array(k),
        lambda x, k: mx.maximum(x, k),
        lambda x, k: mx.full((2,), k) + x,
        lambda x, k: (x * k, k),
        lambda x, k: x * k + mx.array([1.0, 2.0]) * k,
        lambda x, k: mx.exp(k) * x if hasattr(mx, "exp") else x,
        lambda x, k: x * min(k, 11.0),
        lambda x, k: x if k else x * 2,
        lambda x, k: x * k * 3.7 + 12.3 * k,
    ],
)
def test_numbers_that_are_looked_at(body):
    def fun(x, k):
        return body(x, k)

    compiled = mx.compile(fun)
    x = mx.array([1.0, 2.0])
    for k in (3.7, 12.3, 0.25, 12.5, 3.7, 1.0, 0.0, -5.25, 12.3, 100.0, 3.0, float("inf")):
        got, wanted = compiled(x, k), fun(x, k)
        if isinstance(got, tuple):
            assert got[1] == wanted[1]
            got, wanted = got[0], wanted[0]
        assert got.dtype == wanted.dtype and got.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    "body",
    [
        lambda x, k: functools.reduce(lambda y, _: y * 2, range(k), x),
        lambda x, k: x * k,
        lambda x, k: x + k if k % 2 else x,
        lambda x, k: x[: k % 3],
        lambda x, k: mx.broadcast_to(x, (k, 4)),
        lambda x, k: x.sum() + k,
    ],
)
@pytest.mark.parametrize("values", [[1.5, 2.5, 3.5, 4.5], [1, 2, 3, 4]])
def test_whole_numbers(body, values):
    def fun(x, k):
        return body(x, k)

    compiled = mx.compile(fun)
    x = mx.array(values)
    for k in (3, 4, 5, 6, 7, 8, 1, 2, 4):
        got, wanted = compiled(x, k), fun(x, k)
        assert got.dtype == wanted.dtype and got.shape == wanted.shape
        assert got.tolist() == wanted.tolist()


def test_large_whole_numbers():
    fun = mx.compile(lambda x, k: x * k)
    for x in (mx.array([1, -2]), mx.array([1.0, -2.0])):
        for k in (3, 5, 2**20, 2**31 - 1, -(2**31), 2**33, -(2**40), 2**53 + 1, 7):
            if x.dtype == mx.int32 and not -(2**31) <= k < 2**31:
                with pytest.raises(ValueError, match="does not fit int32"):
                    fun(x, k)
                continue
            assert fun(x, k).tolist() == (x * k).tolist()


def test_bools_ints_and_floats_are_apart():
    fun = mx.compile(lambda x, k: x * k)
    x = mx.array([2, 3])
    for k in (3, 4, 5):
        fun(x, k)
    for k in (3.25, 4.25, 5.25):
        assert fun(x, k).dtype == mx.float32 and fun(x, k).tolist() == [2 * k, 3 * k]
    assert fun(x, True).tolist() == [2, 3] and fun(x, False).tolist() == [0, 0]
    assert fun(x, 7).tolist() == [14, 21] and fun(x, 7).dtype == mx.int32


def test_a_number_that_is_kept():
    class Optimizer:
        rate = None

    optimizer = Optimizer()

    @mx.compile
    def fun(x, rate):
        optimizer.rate = rate
        return x * optimizer.rate

    x = mx.array([1.0, 3.0])
    for rate in (0.1, 0.2, 0.3):
        assert fun(x, rate).tolist() == (x * rate).tolist()
        assert optimizer.rate == rate and type(optimizer.rate) is float


def test_numbers_with_state():
    state = {"w": mx.array([1.0, 2.0]), "v": mx.zeros((2,))}

    @partial(mx.compile, inputs=state, outputs=state)
    def step(g, lr, momentum):
        state["v"] = momentum * state["v"] + g
        state["w"] = state["w"] - lr * state["v"]

    g = mx.array([0.5, -0.5])
    w, v = mx.array([1.0, 2.0]), mx.zeros((2,))
    counts = []
    for n in range(6):
        lr = 0.1 / (n + 1)
        counts.append(traced_by(step, g, lr, 0.9))
        v = 0.9 * v + g
        w = w - lr * v
    assert counts == [1, 1, 0, 0, 0, 0]
    assert state["w"].tolist() == pytest.approx(w.tolist(), rel=1e-6)
    assert state["v"].tolist() == pytest.approx(v.tolist(), rel=1e-6)


def test_equal_numbers():
    fun = mx.compile(lambda x, a, b: x * a + b)
    x = mx.array([1.0, 2.0])
    for a, b in [(3.5, 3.5), (4.5, 4.5), (5.5, 5.5), (6.5, 7.5), (7.5, 6.5), (3.5, 9.5)]:
        assert fun(x, a, b).tolist() == (x * a + b).tolist()


def test_numbers_of_new_shapes():
    fun = mx.compile(lambda x, k: x * k)
    for n in range(1, 5):
        x = mx.ones((n,))
        counts = [traced_by(fun, x, 0.1 * (n + 10 * i)) for i in range(1, 6)]
        assert counts[2:] == [0, 0, 0]
        assert fun(x, 77.5).tolist() == [77.5] * n


def test_float64_numbers_keep_their_precision():
    if not hasattr(mx, "float64"):
        pytest.skip("no float64")
    fun = mx.compile(lambda x, k: x * k)
    x = mx.array([1.0, 3.0]).astype(mx.float64)
    for k in (0.1, 0.2, 0.3, 1 / 3):
        assert fun(x, k).tolist() == [k, 3.0 * k]


# ---- explain ------------------------------------------------------------------------------------


def test_explain():
    captured = mx.zeros((10,)) + 1
    mx.eval(captured)

    @mx.compile
    def fun(x, n=None):
        return mx.exp(x[0] if isinstance(x, list) else x) * captured[0]

    fun(mx.zeros((2, 3)))
    fun(mx.zeros((2, 4)))
    fun(mx.zeros((2, 4)).astype(mx.float16))
    fun([mx.zeros((2, 4))])
    fun(mx.zeros((2, 3)), "a")
    fun(mx.zeros((2, 3)), "b")
    fun(mx.zeros((2, 3)), 5)
    rows = mx.explain(fun, as_dict=True)
    assert [r["kind"] for r in rows] == [
        "first call",
        "shape",
        "dtype",
        "structure",
        "structure",
        "constant",
        "structure",
    ]
    assert "argument 0 is float32[2,4], was float32[2,3] (dimension 1)" in rows[1]["why"]
    assert "float16" in rows[2]["why"] and "list" in rows[3]["why"]
    assert "argument 1 is 'b', was 'a'" in rows[5]["why"]
    assert all(r["captured"] == 1 and r["captured_bytes"] > 0 for r in rows)
    assert rows[0]["signature"] == [("argument 0", "array", "float32[2,3]")]
    assert all(r["outputs"] == 1 and "kernel 0" in r["text"] for r in rows)
    text = mx.explain(fun)
    assert text.startswith("fun: 7 programs") and "first call" in text and "kernel 0" in text


def test_explain_of_state():
    state = {"w": mx.zeros((2,))}
    fun = mx.compile(lambda: state["w"] + 1, inputs=state)
    assert mx.explain(fun, as_dict=True) == []
    fun()
    state["w"] = mx.zeros((3,))
    fun()
    assert "inputs['w'] is float32[3], was float32[2]" in mx.explain(fun)
    with pytest.raises(TypeError, match="compiled"):
        mx.explain(lambda: None)


def test_explain_layouts():
    fun = mx.compile(lambda x: x + 1)
    x = mx.zeros((3, 3))
    fun(x)
    y = x.T
    mx.eval(y)
    fun(y)
    rows = mx.explain(fun, as_dict=True)
    assert [r["kind"] for r in rows] in (["first call"], ["first call", "layout"])
