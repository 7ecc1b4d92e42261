"""Compiled functions where they are easily wrong: what users of such functions fell over."""

import collections
import dataclasses
import functools
import gc
import threading

import ferrule.core as mx
import numpy as np
import pytest


def traces():
    return mx.counters()["traces"]


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096


# ---- calls --------------------------------------------------------------------------


def test_a_result_as_argument():
    f = mx.compile(lambda x: mx.sin(x) + 1)
    x = mx.array([0.0, 1.0])
    once = f(x)
    assert np.allclose(np.array(f(f(x))), np.sin(np.sin([0.0, 1.0]) + 1) + 1, atol=1e-6)
    assert np.allclose(np.array(f(once)), np.array(f(f(x))))
    assert np.allclose(np.array(once), np.sin([0.0, 1.0]) + 1, atol=1e-6)  # not written over


def test_results_held_over_many_calls():
    f = mx.compile(lambda x: (x * 2, x + 1))
    held = [f(mx.full((100,), i)) for i in range(500)]
    for i, (double, more) in enumerate(held):
        assert double[99].item() == 2 * i and more[0].item() == i + 1


def test_results_released_on_another_thread():
    f = mx.compile(lambda x: [x * i for i in range(10)])
    held = [f(mx.ones((1000,))) for _ in range(50)]
    errors = []

    def drop(part):
        try:
            while part:
                part.pop()
            gc.collect()
        except Exception as error:  # pragma: no cover
            errors.append(error)

    threads = [
        threading.Thread(target=drop, args=([held.pop() for _ in range(10)],)) for _ in range(5)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    assert f(mx.ones((1000,)))[3][0].item() == 3


def test_the_function_released_on_another_thread():
    def make():
        return mx.compile(lambda x: x * 3)

    for _ in range(20):
        f = [make()]
        f[0](mx.array(1.0))
        t = threading.Thread(target=f.clear)
        t.start()
        t.join()
    assert make()(mx.array(2.0)).item() == 6


def test_many_threads_one_function():
    f = mx.compile(lambda x, k: x * k + mx.sum(x))
    errors = []

    def work(seed):
        try:
            for i in range(200):
                n = (seed + i) % 7 + 1
                got = f(mx.full((n,), float(seed)), float(i % 3))
                assert got.shape == (n,)
                assert got[0].item() == seed * (i % 3) + seed * n
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(s,)) for s in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors


def test_many_threads_one_state():
    state = {"n": mx.array(0)}

    @functools.partial(mx.compile, inputs=state, outputs=state)
    def count(k):
        state["n"] = state["n"] + k
        return state["n"]

    seen = []

    def work():
        for _ in range(100):
            seen.append(count(mx.array(1)).item())

    threads = [threading.Thread(target=work) for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert state["n"].item() == 600 and sorted(seen) == list(range(1, 601))


def test_an_exception_in_the_middle():
    state = [mx.array(1.0)]
    fail = [True]

    @functools.partial(mx.compile, inputs=state, outputs=state)
    def f(x):
        state[0] = state[0] + x
        state.append(x)
        if fail[0]:
            raise KeyError("no")
        return state[0] * 2

    for _ in range(3):
        with pytest.raises(KeyError, match="no"):
            f(mx.array(1.0))
        assert len(state) == 1 and state[0].item() == 1
    fail[0] = False
    assert f(mx.array(1.0)).item() == 4
    assert [s.item() for s in state] == [2, 1]
    assert mx.compile(lambda x: x + 1)(mx.array(1.0)).item() == 2


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, SystemExit, StopIteration, GeneratorExit, MemoryError]
)
def test_any_exception_passes(error):
    def body(x):
        raise error()

    f = mx.compile(body)
    for _ in range(2):
        with pytest.raises(error):
            f(mx.array(1.0))


def test_what_is_returned():
    x, y = mx.array([1.0, 2.0]), mx.array(3.0)
    assert np.array_equal(np.array(mx.compile(lambda x: x)(x)), [1, 2])
    a, b = mx.compile(lambda x: (x * 2,) * 2)(x)
    assert np.array_equal(np.array(a), np.array(b))
    a += 1  # one handle of two
    assert np.array_equal(np.array(b), [2, 4])
    assert mx.compile(lambda x: None)(x) is None
    assert mx.compile(lambda x: ())(x) == ()
    assert mx.compile(lambda x: 7)(x) == 7
    assert mx.compile(lambda: mx.array(4))().item() == 4
    constant = mx.array([9])
    f = mx.compile(lambda x: (constant, y))
    assert f(x)[0].item() == 9 and f(x)[1].item() == 3
    x_again = mx.compile(lambda x, y: (y, x, x))(x, y)
    assert x_again[0].item() == 3 and x_again[2][1].item() == 2


def test_ten_thousand_arguments():
    f = mx.compile(lambda *xs: xs[0] + xs[-1])
    xs = [mx.array(float(i)) for i in range(10_000)]
    assert f(*xs).item() == 9999
    g = mx.compile(lambda tree: sum(tree[1:], tree[0]))
    assert abs(g(xs).item() / sum(range(10_000)) - 1) < 1e-3
    before = traces()
    assert abs(g(xs[::-1]).item() / sum(range(10_000)) - 1) < 1e-3
    assert traces() == before


def test_compiles_inside_itself():
    @mx.compile
    def f(x):
        def inner(y):
            return mx.compile(lambda z: z * 2)(y) + 1

        return mx.compile(inner)(x) + mx.compile(inner)(mx.array(1.0))

    assert f(mx.array(3.0)).item() == 10
    assert f(mx.array(4.0)).item() == 12


def test_a_closure_over_a_placeholder():
    @mx.compile
    def outer(x):
        def inner(y):
            return y + x  # x belongs to the outer trace

        return mx.compile(inner)(mx.array(10.0))

    assert outer(mx.array(1.0)).item() == 11
    assert outer(mx.array(2.0)).item() == 12


def test_calls_itself():
    @mx.compile
    def power(x, n):
        return x if n == 1 else x * power(x, n - 1)

    assert [power(mx.array(2.0), n).item() for n in (1, 5, 3, 5)] == [2, 32, 8, 32]


def test_generators_args_and_kwargs():
    f = mx.compile(lambda *args, **kwargs: sum(args, mx.array(0.0)) + kwargs.get("b", 0))
    x = mx.array(1.0)
    assert f(*(x for _ in range(3))).item() == 3
    assert f(x, b=x, a=x).item() == 2 and f(x, a=x, b=x).item() == 2
    assert f(**{"b": mx.array(5.0)}).item() == 5

    def numbers(x):
        yield x
        yield x + 1

    assert [v.item() for v in mx.compile(lambda x: list(numbers(x)))(x)] == [1, 2]
    with pytest.raises(TypeError, match="output is a generator"):
        mx.compile(numbers)(x)
    with pytest.raises(TypeError, match="argument 0 is a generator"):
        mx.compile(lambda g: 1)(x for _ in range(2))


def test_numpy_among_the_arguments():
    f = mx.compile(lambda x, y, k: x * y + k)
    got = f(np.float32([1, 2]), mx.array([3.0, 4.0]), np.int32([1, 1]))
    assert np.array_equal(np.array(got), [4, 9])
    before = traces()
    f(np.float32([5, 2]), mx.array([3.0, 4.0]), np.int32([1, 7]))
    assert traces() == before
    got = f(np.ones((2, 3), np.float32)[:, ::2], mx.ones((2, 2)), np.array(1, np.int32))
    assert np.array_equal(np.array(got), np.full((2, 2), 2))


@pytest.mark.cpu_only("resident memory: the driver's is in it")
def test_memory_steady_over_many_calls():
    f = mx.compile(lambda t, k: {"y": t["x"] * k, "n": 3})
    x = {"x": mx.array([1.0, 2.0])}

    def calls(n):
        for i in range(n):
            f(x, float(i % 5) + 0.25)

    calls(10_000)
    gc.collect()
    before, active = resident(), mx.get_active_memory()
    calls(100_000)
    gc.collect()
    assert resident() - before < 4 << 20
    assert mx.get_active_memory() - active < 1 << 16


@pytest.mark.cpu_only("resident memory: the driver's is in it")
def test_memory_steady_over_many_lambdas():
    x = mx.array(1.0)

    def lambdas(n):
        for i in range(n):
            y = mx.array(float(i))
            mx.compile(lambda x: mx.exp(x) + y)(x)  # noqa: B023

    lambdas(1000)
    gc.collect()
    before, active = resident(), mx.get_active_memory()
    lambdas(10_000)
    gc.collect()
    assert resident() - before < 4 << 20
    assert mx.get_active_memory() - active < 1 << 16


def test_three_thousand_operations_in_a_loop():
    def f(x):
        for i in range(3000):
            x = x * 0.999 + (i % 7) * 0.01
        return x

    x = mx.array([1.0, -2.0])
    want = np.array(f(np.float64([1.0, -2.0])))
    assert np.allclose(np.array(mx.compile(f)(x)), want, rtol=1e-4)


# ---- arguments and results of other types ----------------------------------------------


@dataclasses.dataclass
class Point:
    x: object
    scale: float = 2.0
    tag: str = "a"


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: object
    n: int


class Module(dict):
    """What nn.Module is: a dict of parameters with attributes."""

    def __init__(self, **items):
        super().__init__(**items)
        self.__dict__["training"] = True
        self.__dict__["skip"] = {"w"}

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def update(self, *_):
        raise AssertionError("not a dict's update")

    def __call__(self, x):
        return x * self.w if self.training else x


class Pair:
    def __init__(self, a, b, name):
        self.a, self.b, self.name = a, b, name


mx.register_pytree(Pair, lambda p: ([p.a, p.b], p.name), lambda name, ab: Pair(*ab, name))


def test_dataclasses():
    f = mx.compile(lambda p: Point(p.x * p.scale, p.scale, p.tag + "!"))
    got = f(Point(mx.array(3.0)))
    assert got.x.item() == 6 and got.scale == 2 and got.tag == "a!"
    before = traces()
    assert f(Point(mx.array(4.0))).x.item() == 8
    assert traces() == before
    assert f(Point(mx.array(4.0), 3.0)).x.item() == 12
    assert f(Point(mx.array(4.0), tag="b")).tag == "b!"
    got = mx.compile(lambda p: Frozen(p.x + p.n, p.n + 1))(Frozen(mx.array(1), 5))
    assert got == Frozen(got.x, 6) and got.x.item() == 6
    first = mx.compile(lambda p: [Point(p.x)])
    one, two = first(Point(mx.array(1.0))), first(Point(mx.array(2.0)))
    assert one[0].x.item() == 1 and two[0].x.item() == 2


def test_modules_as_arguments():
    f = mx.compile(lambda m, x: (m(x), m))
    m = Module(w=mx.array(2.0))
    y, same = f(m, mx.array(5.0))
    assert y.item() == 10 and type(same) is Module and same.w.item() == 2
    m["w"] = mx.array(3.0)
    before = traces()
    assert f(m, mx.array(5.0))[0].item() == 15
    assert traces() == before
    m.__dict__["training"] = False
    assert f(m, mx.array(5.0))[0].item() == 5
    assert type(m.w) is mx.array and not isinstance(m.skip, str)


def test_attributes_of_modules_in_state():
    m = Module(w=mx.array(2.0))
    f = mx.compile(lambda x: m(x), inputs=m)
    assert f(mx.array(5.0)).item() == 10
    m.__dict__["training"] = False
    assert f(mx.array(5.0)).item() == 5
    m.__dict__["training"] = True
    m["w"] = mx.array(4.0)
    assert f(mx.array(5.0)).item() == 20


def test_an_object_with_state():
    class Optimizer:
        def __init__(self):
            self.state = {"step": mx.array(0)}

    o = Optimizer()

    def step(x):
        o.state["step"] = o.state["step"] + x

    f = mx.compile(step, inputs=o, outputs=o)
    f(mx.array(1))
    f(mx.array(1))
    assert o.state["step"].item() == 2


def test_registered_types():
    f = mx.compile(lambda p, k: Pair(p.b * k, p.a, p.name))
    got = f(Pair(mx.array(1.0), mx.array(2.0), "n"), 3)
    assert got.a.item() == 6 and got.b.item() == 1 and got.name == "n"
    before = traces()
    f(Pair(mx.array(4.0), mx.array(2.0), "n"), 3)
    assert traces() == before
    f(Pair(mx.array(4.0), mx.array(2.0), "other"), 3)
    assert traces() == before + 1
    pair = Pair(mx.array(1.0) + 1, 0, "")
    mx.eval([pair])
    with pytest.raises(TypeError, match="wanted a type"):
        mx.register_pytree(3, len, len)
    with pytest.raises(TypeError, match="known already"):
        mx.register_pytree(list, len, len)


def test_other_dicts():
    f = mx.compile(lambda d: d)
    x = mx.array(1.0)
    got = f(collections.OrderedDict(b=x, a=x))
    assert list(got) == ["b", "a"] and type(got) is collections.OrderedDict
    got = f(collections.defaultdict(list, q=x))
    assert got["new"] == [] and got["q"].item() == 1


def test_functions_as_arguments():
    f = mx.compile(lambda g, x: g(x) + 1)
    x = mx.array(4.0)
    before = traces()
    assert f(mx.sqrt, x).item() == 3 and f(mx.square, x).item() == 17
    assert f(mx.sqrt, x).item() == 3 and traces() == before + 2
    assert f(functools.partial(mx.add, mx.array(1.0)), x).item() == 6
    assert f(functools.partial(mx.add, mx.array(2.0)), x).item() == 7
    assert traces() == before + 3
    for k in range(30):  # new functions at old addresses
        assert f(lambda x: x * k, x).item() == 4 * k + 1  # noqa: B023
    r = mx.compile(lambda r, x: x + sum(r))
    assert r(range(4), x).item() == 10 and r(range(5), x).item() == 14
    assert r(range(0, 4, 2), x).item() == 6


def test_results_of_other_types_say_where():
    x = mx.array(1.0)
    for value, where in (
        (set(), r"output is a set"),
        ([x, {"a": set()}], r"output\[1\]\['a'\] is a set"),
        (Point(object()), r"output\['x'\] is a object"),
        ((x, lambda: x), r"output\[1\] is a function"),
    ):
        with pytest.raises(TypeError, match=where):
            mx.compile(lambda x, value=value: value, strict=True)(x)
        with pytest.raises(TypeError, match=where):
            mx.compile(lambda x: value)(x)  # noqa: B023


# ---- options ---------------------------------------------------------------------------


def test_strict():
    w, b = mx.array([1.0, 1.0, 1.0]), mx.array([2.0, 2.0, 2.0])
    f = mx.compile(lambda x: x * w + b, strict=True)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"strict and uses 2 arrays.*float32\[3\].*24 bytes"):
            f(mx.ones((3,)))
    assert mx.compile(lambda x: x * 2 + mx.zeros((3,)), strict=True)(w)[0].item() == 2
    state = [w]
    assert mx.compile(lambda x: x * state[0], inputs=state, strict=True)(w)[0].item() == 1
    g = mx.compile(f)
    with pytest.raises(ValueError, match="strict"):
        g(mx.ones((3,)))
    loose = mx.compile(f.__wrapped__)
    assert loose(w)[0].item() == 3
    with pytest.raises(ValueError, match="strict"):
        mx.compile(loose, strict=True)(w)


def test_cache_limit():
    before = mx.compile_cache_limit()
    assert mx.compile_cache_limit(3) == before
    try:
        f = mx.compile(lambda x: x + 1)
        for n in range(1, 11):
            f(mx.zeros((n,)))
        assert len(mx.explain(f, as_dict=True)) == 3
        t = traces()
        f(mx.zeros((10,)))
        f(mx.zeros((8,)))
        assert traces() == t
        f(mx.zeros((7,)))
        assert traces() == t + 1
    finally:
        assert mx.compile_cache_limit(before) == 3
    with pytest.raises(ValueError, match="positive"):
        mx.compile_cache_limit(0)


def test_clear():
    f, g = mx.compile(lambda x: x + 1), mx.compile(lambda x: x + 2)
    x = mx.array(1.0)
    f(x), g(x)
    mx.clear_compiled(f)
    t = traces()
    f(x), g(x)
    assert traces() == t + 1
    mx.clear_compiled()
    f(x), g(x)
    assert traces() == t + 3


def test_streams_are_apart():
    f = mx.compile(lambda x: x + 1)
    x = mx.array(1.0)
    f(x)
    t = traces()
    with mx.stream(mx.new_stream(mx.cpu)):
        assert f(x).item() == 2
    assert traces() == t + 1
    f(x)
    assert traces() == t + 1
