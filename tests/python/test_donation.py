"""Captured state is updated in place where nobody holds it, and only there."""

import gc
import threading
import weakref

import ferrule.core as mx
import ferrule.nn as nn
import ferrule.optimizers as optim
import numpy as np
import pytest
from ferrule.utils import tree_flatten

N = 1 << 16
on_the_cpu = pytest.mark.cpu_only("nothing is donated on a GPU")


def donations(f):
    return mx.explain(f, as_dict=True)[-1]["donations"]


def runs(f):
    """In how many runs each donation was made."""
    return [d["runs"] for d in donations(f)]


def ramp(n=N, start=0):
    return mx.array(np.arange(start, start + n, dtype=np.float32))


def counter(n=N, extra=None):
    """A function that adds 1 to its state, and the state."""
    state = {"w": ramp(n)}

    def step(x):
        state["w"] = state["w"] + x
        return mx.sum(x)

    return mx.compile(step, inputs=state, outputs=state), state


@on_the_cpu
def test_in_place():
    step, state = counter()
    one = mx.array(1.0)
    step(one)
    mx.eval(state)
    at = np.asarray(memoryview(state["w"])).ctypes.data
    for _ in range(5):
        step(one)
    assert np.asarray(memoryview(state["w"])).ctypes.data == at
    np.testing.assert_array_equal(np.array(state["w"]), np.arange(N, dtype=np.float32) + 6)
    assert runs(step) == [6] and donations(step)[0]["bytes"] == 4 * N
    assert "donated" in mx.explain(step)


@on_the_cpu
def test_peak_of_a_step():
    """Parameters, gradients and state, and nothing for the update."""
    n = 1 << 20
    params = [mx.random.normal((n,)) for _ in range(4)]
    mx.eval(params)

    def loss(params, x):
        return sum(mx.sum(mx.square(p * x)) for p in params)

    def step(x):
        grads = mx.grad(loss)(params, x)
        for i in range(4):
            params[i] = params[i] - 0.01 * grads[i]

    step = mx.compile(step, inputs=params, outputs=params)
    x = mx.array(0.5)
    step(x)
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    for _ in range(3):
        step(x)
    assert mx.get_peak_memory() - before < 4 * n // 2, "gradients are fused, parameters in place"
    assert mx.get_active_memory() <= before


@on_the_cpu
def test_peak_with_gradients_in_memory():
    """Products give the gradients: they are there at once, a second set of parameters is not."""
    n = 512
    params = [mx.random.normal((n, n)) * 0.01 for _ in range(3)]
    x = mx.random.normal((8, n))
    mx.eval(params, x)
    bytes_of = 3 * 4 * n * n

    def loss(params, x):
        for p in params:
            x = mx.tanh(x @ p)
        return mx.mean(mx.square(x))

    def step(x):
        value, grads = mx.value_and_grad(loss)(params, x)
        for i in range(3):
            params[i] = params[i] - 0.01 * grads[i]
        return value

    step = mx.compile(step, inputs=params, outputs=params)
    for hold, most in ((False, 1.2), (True, 2.2)):
        step(x)
        kept = list(params) if hold else None
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        step(x)
        assert mx.get_peak_memory() - before < most * bytes_of
        del kept
    assert runs(step) == [3, 3, 3]


# ---- whoever holds the old value keeps it ----------------------------------------------------


def borrow_numpy(w):
    return np.array(w, copy=False)


def borrow_buffer(w):
    return np.asarray(memoryview(w))


def borrow_dlpack(w):
    return np.from_dlpack(w)


def in_a_list(w):
    return [w]


def through(x):
    return np.array(x[0] if isinstance(x, list) else x)


HOLDERS = {
    "the array": lambda w: w,
    "a list": in_a_list,
    "a view": lambda w: w[::-1][::-1],
    "a part": lambda w: w[0:N],
    "a pending view": lambda w: mx.transpose(mx.reshape(w, (2, N // 2))).T.reshape(N),
    "a pending result": lambda w: w * 1,
    "memoryview": borrow_buffer,
    "numpy": borrow_numpy,
    "dlpack": borrow_dlpack,
}


@pytest.mark.parametrize("name", HOLDERS)
def test_held(name):
    step, state = counter()
    one = mx.array(1.0)
    step(one)
    expected = np.arange(N, dtype=np.float32)
    for i in range(1, 4):
        held = HOLDERS[name](state["w"])
        step(one)
        step(one)
        np.testing.assert_array_equal(through(held), expected + 2 * i - 1)
        np.testing.assert_array_equal(np.array(state["w"]), expected + 2 * i + 1)


@on_the_cpu
def test_held_is_not_donated_and_then_is():
    step, state = counter()
    one = mx.array(1.0)
    step(one)
    old = state["w"]
    step(one)
    assert runs(step) == [1]
    del old
    step(one)
    assert runs(step) == [2]


def test_a_result_of_the_call_that_is_the_state():
    state = [ramp()]

    def step():
        state[0] = state[0] * 2
        return state[0], state[0][1:3]

    step = mx.compile(step, inputs=state, outputs=state)
    results = [step() for _ in range(4)]
    for i, (whole, part) in enumerate(results):
        np.testing.assert_array_equal(
            np.array(whole), np.arange(N, dtype=np.float32) * 2 ** (i + 1)
        )
        np.testing.assert_array_equal(np.array(part), np.float32([1, 2]) * 2 ** (i + 1))


def test_the_old_state_as_a_result():
    state = [ramp()]

    def step():
        old = state[0]
        state[0] = old + 1
        return old

    step = mx.compile(step, inputs=state, outputs=state)
    olds = [step() for _ in range(3)]
    for i, old in enumerate(olds):
        np.testing.assert_array_equal(np.array(old), np.arange(N, dtype=np.float32) + i)
    assert donations(step) == []


def test_the_same_array_twice():
    w = ramp()
    state = {"a": w, "b": w}
    del w

    def step():
        state["a"] = state["a"] + 1
        state["b"] = state["b"] * 2

    step = mx.compile(step, inputs=state, outputs=state)
    step()
    base = np.arange(N, dtype=np.float32)
    np.testing.assert_array_equal(np.array(state["a"]), base + 1)
    np.testing.assert_array_equal(np.array(state["b"]), base * 2)
    step()
    np.testing.assert_array_equal(np.array(state["a"]), base + 2)
    np.testing.assert_array_equal(np.array(state["b"]), base * 4)


@on_the_cpu
def test_also_an_argument():
    step, state = counter()
    for i in range(4):
        step(state["w"])
        np.testing.assert_array_equal(
            np.array(state["w"]), np.arange(N, dtype=np.float32) * 2 ** (i + 1)
        )
    assert runs(step) == [0]
    x = state["w"]
    step(x)
    np.testing.assert_array_equal(np.array(x) * 2, np.array(state["w"]))


def test_in_another_container():
    a, b = {"w": ramp()}, {}
    b["w"] = a["w"]

    def step():
        a["w"] = a["w"] + 1

    step = mx.compile(step, inputs=a, outputs=a)
    step()
    step()
    np.testing.assert_array_equal(np.array(b["w"]), np.arange(N, dtype=np.float32))
    np.testing.assert_array_equal(np.array(a["w"]), np.arange(N, dtype=np.float32) + 2)


def test_read_but_not_written():
    a, b = {"w": ramp()}, {"w": ramp()}

    def step():
        b["w"] = a["w"] + 1

    step = mx.compile(step, inputs=[a], outputs=[b])
    for _ in range(3):
        step()
    np.testing.assert_array_equal(np.array(a["w"]), np.arange(N, dtype=np.float32))
    np.testing.assert_array_equal(np.array(b["w"]), np.arange(N, dtype=np.float32) + 1)
    assert donations(step) == []


def test_two_that_change_places():
    state = [ramp(), ramp(start=5)]

    def step():
        state[0], state[1] = state[1] + 1, state[0] * 2

    step = mx.compile(step, inputs=state, outputs=state)
    a, b = (np.array(x) for x in state)
    for _ in range(4):
        step()
        a, b = b + 1, a * 2
        np.testing.assert_array_equal(np.array(state[0]), a)
        np.testing.assert_array_equal(np.array(state[1]), b)


def test_in_a_tuple():
    state = {"pair": (ramp(), ramp())}

    def step():
        a, b = state["pair"]
        state["pair"] = (a + 1, b * 2)

    step = mx.compile(step, inputs=state, outputs=state)
    step()
    pair = state["pair"]
    step()
    step()
    np.testing.assert_array_equal(np.array(pair[0]), np.arange(N, dtype=np.float32) + 1)
    np.testing.assert_array_equal(np.array(state["pair"][0]), np.arange(N, dtype=np.float32) + 3)


def test_borrowed_memory():
    mine = np.arange(N, dtype=np.float32)
    state = [mx.asarray(mine, copy=False) if hasattr(mx, "asarray") else mx.array(mine)]

    def step():
        state[0] = state[0] + 1

    step = mx.compile(step, inputs=state, outputs=state)
    step()
    np.testing.assert_array_equal(mine, np.arange(N, dtype=np.float32))
    step()
    np.testing.assert_array_equal(mine, np.arange(N, dtype=np.float32))
    np.testing.assert_array_equal(np.array(state[0]), np.arange(N, dtype=np.float32) + 2)


def test_numpy_in_the_state():
    mine = np.arange(N, dtype=np.float32)
    state = [mine]

    def step():
        state[0] = state[0] + 1

    step = mx.compile(step, inputs=state, outputs=state)
    for i in range(3):
        step()
        np.testing.assert_array_equal(np.array(state[0]), np.arange(N, dtype=np.float32) + i + 1)
    np.testing.assert_array_equal(mine, np.arange(N, dtype=np.float32))


@on_the_cpu
def test_an_uncollected_cycle_is_a_holder():
    step, state = counter()
    cycle = [state["w"]]
    cycle.append(cycle)
    held = weakref.ref(state["w"])
    del cycle
    gc.disable()
    try:
        step(mx.array(1.0))
        np.testing.assert_array_equal(np.array(held()), np.arange(N, dtype=np.float32))
    finally:
        gc.enable()
    gc.collect()
    step(mx.array(1.0))
    assert runs(step) == [1]


# ---- what reads the old value where the new one is made --------------------------------------

ELEMENTS = 24 * 16


UPDATES = {
    "elementwise": lambda w, x: w * 0.9 + x.reshape(w.shape),
    "reversed": lambda w, x: w + w[::-1],
    "transposed": lambda w, x: w[:16] + w[:16].T if w.shape[0] == w.shape[1] else w + 1,
    "shifted": lambda w, x: w + mx.concatenate([w[1:], w[:1]]),
    "less the mean": lambda w, x: w - mx.mean(w, axis=-1, keepdims=True),
    "less all's mean": lambda w, x: w - mx.mean(w),
    "softmax": lambda w, x: mx.softmax(w, axis=-1),
    "softmax of columns": lambda w, x: mx.softmax(w, axis=0),
    "normalised": lambda w, x: w / mx.sqrt(mx.sum(mx.square(w), axis=0, keepdims=True) + 1),
    "gathered": lambda w, x: w[mx.array([3, 1, 2, 0] * 6)] + w,
    "sorted": lambda w, x: mx.sort(w, axis=-1),
    "cumulative": lambda w, x: mx.cumsum(w, axis=0) + w,
    "product": lambda w, x: (w.T @ w @ w.T).T * 1e-3 + w,
    "partly written": lambda w, x: w.at[2:4].add(x[0]),
    "scattered": lambda w, x: w.at[mx.array([1, 1, 5])].add(x[:3]),
    "broadcast": lambda w, x: mx.broadcast_to(w[0:1], w.shape) + w,
    "constant": lambda w, x: mx.zeros_like(w) + x,
    "cast": lambda w, x: (w.astype(mx.float16) + 1).astype(mx.float32),
    "rolled": lambda w, x: mx.roll(w, 1, axis=0) * 0.5 + w,
    "outer": lambda w, x: w + mx.sum(w, axis=0, keepdims=True),
    "where": lambda w, x: mx.where(w > mx.mean(w), w, x),
}


@pytest.mark.parametrize("shape", [(24, 16), (1, 5), (7, 33), (16, 16), (130, 67)])
@pytest.mark.parametrize("name", UPDATES)
def test_against_the_function(name, shape):
    if shape[0] != 24 and name in ("gathered", "transposed") or shape[0] < 6 and "t" in name:
        shape = (24, 16)
    rng = np.random.default_rng(len(name))
    x = mx.array(rng.normal(size=shape).astype(np.float32))
    start = rng.normal(size=shape).astype(np.float32)
    state = {"w": mx.array(start), "v": mx.array(start[::-1].copy())}
    other = mx.array(start), mx.array(start[::-1].copy())
    update = UPDATES[name]

    def step(x):
        w, v = state["w"], state["v"]
        state["w"], state["v"] = update(w, x), v + update(w, x) * 0.5
        return mx.sum(w * v)

    def plain(w, v, x):
        return update(w, x), v + update(w, x) * 0.5, mx.sum(w * v)

    step = mx.compile(step, inputs=state, outputs=state)
    plain = mx.compile(plain)
    for _ in range(4):
        a = step(x)
        *other, b = plain(*other, x)
        np.testing.assert_array_equal(np.array(state["w"]), np.array(other[0]))
        np.testing.assert_array_equal(np.array(state["v"]), np.array(other[1]))
        np.testing.assert_array_equal(np.array(a), np.array(b))


def test_a_new_value_stored_once_for_each_row():
    """Broadcast in the kernel that makes it: every row would update it again."""
    state = [mx.array([1.0, 2.0, 3.0])]

    def step(x):
        state[0] = mx.exp(state[0] * 0.1) + state[0]
        return x * state[0], mx.sum(x * state[0], axis=1)

    step = mx.compile(step, inputs=state, outputs=state)
    w, x = np.float32([1, 2, 3]), mx.ones((50, 3))
    for _ in range(3):
        step(x)
        w = np.exp(w * np.float32(0.1)) + w
        np.testing.assert_allclose(np.array(state[0]), w, rtol=1e-5)


@pytest.mark.parametrize("seed", range(40))
def test_random_programs(seed):
    """Several arrays, random updates of each from all: as without captured state."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 5))
    shape = tuple(int(s) for s in rng.integers(1, 40, size=2))
    start = [rng.normal(size=shape).astype(np.float32) for _ in range(n)]
    plan = [
        [(int(rng.integers(0, n)), int(rng.integers(0, 9))) for _ in range(rng.integers(1, 4))]
        for _ in range(n)
    ]
    move = [
        lambda a: a,
        lambda a: a * 0.5,
        lambda a: mx.tanh(a),
        lambda a: a[::-1],
        lambda a: a - mx.max(a, axis=-1, keepdims=True),
        lambda a: mx.broadcast_to(mx.mean(a, axis=0), shape),
        lambda a: mx.roll(a, 1, axis=1),
        lambda a: mx.cumsum(a, axis=1) * 0.1,
        lambda a: mx.softmax(a, axis=0),
    ]

    def update(arrays):
        arrays = list(arrays)
        for i, terms in enumerate(plan):
            arrays[i] = sum((move[m](arrays[j]) for j, m in terms), arrays[i] * 0.25)
        return arrays

    state = [mx.array(s) for s in start]

    def step():
        state[:] = update(state)

    step, plain = mx.compile(step, inputs=state, outputs=state), mx.compile(update)
    other = [mx.array(s) for s in start]
    for _ in range(4):
        step()
        other = plain(other)
        for a, b in zip(state, other):
            np.testing.assert_array_equal(np.array(a), np.array(b))


# ---- transformations, nesting, errors, threads -----------------------------------------------


def test_under_grad_and_vmap():
    step, state = counter(8)
    f = mx.grad(lambda x: step(x))
    for i in range(3):
        old = np.array(state["w"])
        f(mx.array(1.0))
        assert np.array(old).shape == (8,)
    total, state = counter(8)
    mx.eval(mx.vmap(lambda x: total(x))(mx.ones((3,))))


def test_nested():
    inner_state, outer_state = {"w": ramp()}, {"v": ramp()}

    def inner():
        inner_state["w"] = inner_state["w"] + 1
        return inner_state["w"]

    inner = mx.compile(inner, inputs=inner_state, outputs=inner_state)

    def outer():
        outer_state["v"] = outer_state["v"] + inner()

    both = [inner_state, outer_state]
    outer = mx.compile(outer, inputs=both, outputs=both)
    w, v = np.arange(N, dtype=np.float32), np.arange(N, dtype=np.float32)
    for _ in range(4):
        outer()
        w = w + 1
        v = v + w
        np.testing.assert_array_equal(np.array(inner_state["w"]), w)
        np.testing.assert_array_equal(np.array(outer_state["v"]), v)
    inner()
    np.testing.assert_array_equal(np.array(inner_state["w"]), w + 1)


def test_an_error_changes_nothing():
    state = {"w": ramp()}

    def step(x):
        state["w"] = state["w"] + x[0]
        if x.shape == (2,):
            raise KeyError("no")
        return x + mx.ones((2,)) if x.shape == (3,) else x

    step = mx.compile(step, inputs=state, outputs=state)
    step(mx.array([1.0]))
    with pytest.raises(KeyError):
        step(mx.array([1.0, 2.0]))
    with pytest.raises(ValueError):
        step(mx.ones((3,)))
    np.testing.assert_array_equal(np.array(state["w"]), np.arange(N, dtype=np.float32) + 1)
    step(mx.array([1.0]))
    np.testing.assert_array_equal(np.array(state["w"]), np.arange(N, dtype=np.float32) + 2)


@on_the_cpu
def test_no_memory_changes_nothing():
    n = 1 << 22
    state = {"w": mx.zeros((n,)) + 1.0}

    def step(x):
        state["w"] = state["w"] + 1
        return mx.cumsum(mx.broadcast_to(x, (n,)), axis=0)

    step = mx.compile(step, inputs=state, outputs=state)
    step(mx.array(1.0))
    mx.clear_cache()
    limit = mx.set_memory_limit(mx.get_active_memory() + n)
    try:
        with pytest.raises(MemoryError):
            step(mx.array(1.0))
    finally:
        mx.set_memory_limit(limit)
    assert np.array(state["w"])[0] == 2 and runs(step) == [1]
    step(mx.array(1.0))
    assert np.array(state["w"])[0] == 3


@on_the_cpu
def test_numbers_that_vary():
    state = {"w": ramp()}

    def step(rate):
        state["w"] = state["w"] + rate

    step = mx.compile(step, inputs=state, outputs=state)
    for i in range(6):
        step(float(i) + 0.25)
    np.testing.assert_array_equal(
        np.array(state["w"]), np.arange(N, dtype=np.float32) + 15 + 6 * 0.25
    )
    assert sum(sum(d["runs"] for d in p["donations"]) for p in mx.explain(step, as_dict=True)) >= 4


def test_shapeless():
    state = {"w": ramp()}

    def step(x):
        state["w"] = state["w"] + mx.sum(x)

    step = mx.compile(step, inputs=state, outputs=state, shapeless=True)
    for n in (3, 4, 5):
        step(mx.ones((n,)))
        step(mx.ones((n,)))
    np.testing.assert_array_equal(np.array(state["w"]), np.arange(N, dtype=np.float32) + 24)


def test_check_and_debug_nans_see_the_old_values():
    state = {"w": ramp()}

    def step():
        state["w"] = state["w"] * 2 + 1

    checked = mx.compile(step, inputs=state, outputs=state, check=True)
    checked()
    checked()
    assert donations(checked) == []
    mx.debug_nans()
    try:
        watched = mx.compile(step, inputs=state, outputs=state)
        watched()
        watched()
    finally:
        mx.debug_nans(False)
    assert np.array(state["w"])[1] == 31


@on_the_cpu
def test_another_thread_reads_meanwhile():
    """It finds an old value or a new one, whole."""
    state = {"w": mx.zeros((1 << 20,)) + 0.0}
    mx.eval(state)

    def step():
        state["w"] = state["w"] + 1

    step = mx.compile(step, inputs=state, outputs=state)
    step()
    wrong, seen, stop = [], set(), threading.Event()

    def read():
        while not stop.is_set():
            w = state["w"]
            a = np.array(w)
            b = mx.array(w) + 0
            if a.min() != a.max() or np.array(b).min() != a.max():
                wrong.append((a.min(), a.max()))
            seen.add(float(a[0]))
            del w

    readers = [threading.Thread(target=read) for _ in range(2)]
    for t in readers:
        t.start()
    steps = 1
    while steps < 150 or (len(seen) < 3 and steps < 100000):
        step()
        steps += 1
    stop.set()
    for t in readers:
        t.join()
    assert not wrong and len(seen) > 2
    assert np.array(state["w"])[0] == steps


def test_two_threads_call():
    step, state = counter(1 << 16)
    one = mx.array(1.0)

    def work():
        for _ in range(50):
            step(one)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    np.testing.assert_array_equal(np.array(state["w"]), np.arange(1 << 16, dtype=np.float32) + 150)


# ---- what it is for ---------------------------------------------------------------------------


OPTIMIZERS = {
    "sgd": lambda: optim.SGD(1e-2),
    "momentum": lambda: optim.SGD(1e-2, momentum=0.9),
    "adam": lambda: optim.Adam(1e-3),
    "adamw": lambda: optim.AdamW(1e-3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@on_the_cpu
def test_optimizers(name):
    mx.random.seed(0)
    plain, make = name == "sgd", OPTIMIZERS[name]
    model = nn.Sequential(
        nn.Linear(40, 50), nn.LayerNorm(50), nn.ReLU(), nn.Dropout(0.1), nn.Linear(50, 10)
    )
    optimizer = make()
    x, y = mx.random.normal((16, 40)), mx.random.randint(0, 10, (16,))
    grad = nn.value_and_grad(
        model, lambda m, x, y: nn.losses.cross_entropy(m(x), y, reduction="mean")
    )
    state = [model.state, optimizer.state, mx.random.state]

    def step(x, y):
        loss, grads = grad(model, x, y)
        optimizer.update(model, grads)
        return loss

    step = mx.compile(step, inputs=state, outputs=state)
    losses = [step(x, y).item() for _ in range(6)]
    assert losses[-1] < losses[0]

    sizes = sorted(p.nbytes for _, p in tree_flatten(model.parameters()))
    moments = [a.nbytes for _, a in tree_flatten(optimizer.state) if a.size > 1]
    if plain:
        moments = []  # there, and stay as they are
    before = {d["output"]: d["runs"] for d in donations(step)}
    step(x, y)
    made = sorted(d["bytes"] for d in donations(step) if d["runs"] == before[d["output"]] + 1)
    large = [b for b in made if b > 8]
    assert large == sorted(sizes + moments)
