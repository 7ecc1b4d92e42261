"""mx.compile: the document's programs, exact keys, structure, errors."""

import collections
import enum
import functools
import gc
import inspect
import math
import os
import subprocess
import sys
import time
import weakref

import ferrule.core as mx
import ferrule.nn as nn
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def compiling():
    mx.enable_compile()
    yield
    mx.enable_compile()


def traces():
    return mx.counters()["traces"]


def traced_by(function, *args, **keywords):
    before = traces()
    function(*args, **keywords)
    return traces() - before


# ---- the document's programs ---------------------------------------------------------------


def test_basics():
    def fun(x, y):
        return mx.exp(-x) + y

    x = mx.array(1.0)
    y = mx.array(2.0)
    assert repr(fun(x, y)) == "array(2.36788, dtype=float32)"
    compiled_fun = mx.compile(fun)
    assert repr(compiled_fun(x, y)) == "array(2.36788, dtype=float32)"
    before = traces()
    compiled_fun(x, y)
    mx.compile(fun)(x, y)
    assert traces() == before


def test_what_recompiles():
    @mx.compile
    def fun(*xs):
        return xs[0] + 1

    x = mx.zeros((2, 3))
    assert traced_by(fun, x) == 1
    assert traced_by(fun, x) == 0
    assert traced_by(fun, mx.ones((2, 3))) == 0
    assert traced_by(fun, mx.zeros((3, 3))) == 1
    assert traced_by(fun, mx.zeros((2, 3, 1))) == 1
    assert traced_by(fun, x.astype(mx.int32)) == 1
    assert traced_by(fun, x, x) == 1
    assert traced_by(fun, x) == 0


def test_lambdas_in_a_loop():
    a = mx.array(1.0)
    for _ in range(5):
        result = mx.compile(lambda x: mx.exp(mx.abs(x)))(a)
        assert result.item() == pytest.approx(math.e)


def test_example_speedup():
    def gelu(x):
        return x * (1 + mx.erf(x / math.sqrt(2))) / 2

    def timeit(fun, x):
        for _ in range(2):
            mx.eval(fun(x))
        tic = time.perf_counter()
        for _ in range(5):
            mx.eval(fun(x))
        return 1e3 * (time.perf_counter() - tic) / 5

    x = mx.random.uniform(shape=(32, 10, 4096))
    assert timeit(nn.gelu, x) > 0
    assert timeit(mx.compile(nn.gelu), x) > 0
    np.testing.assert_allclose(
        np.array(mx.compile(gelu)(x)), np.array(gelu(x)), rtol=1e-5, atol=1e-6
    )


def test_printing_inside_is_an_error():
    @mx.compile
    def fun(x):
        z = -x
        print(z)
        return mx.exp(z)

    with pytest.raises(mx.TraceError) as error:
        fun(mx.array(5.0))
    assert "test_compile.py" in str(error.value)
    assert isinstance(error.value, RuntimeError)
    # the function stays usable
    with pytest.raises(mx.TraceError):
        fun(mx.array(5.0))
    mx.disable_compile()
    assert fun(mx.array(5.0)).item() == pytest.approx(math.exp(-5.0))
    mx.enable_compile()


@pytest.mark.parametrize(
    "use",
    [
        bool,
        float,
        int,
        repr,
        lambda z: z.item(),
        lambda z: z.tolist(),
        mx.eval,
        np.array,
        memoryview,
    ],
)
def test_values_of_placeholders(use):
    def fun(x):
        use(x + 1)
        return x

    compiled = mx.compile(fun)
    with pytest.raises(mx.TraceError):
        compiled(mx.array(5.0))
    mx.disable_compile()
    compiled(mx.array(5.0))


def test_environment_variables(tmp_path):
    program = (
        "import ferrule.core as mx\n"
        "calls = []\n"
        "@mx.compile\n"
        "def f(x):\n"
        "    calls.append(float(x))\n"
        "    return x\n"
        "f(mx.array(1.0)); f(mx.array(2.0))\n"
        "assert calls == [1.0, 2.0]\n"
    )
    for name in ("FERRULE_DISABLE_COMPILE", "MLX_DISABLE_COMPILE"):
        subprocess.run(
            [sys.executable, "-c", program], check=True, env={**os.environ, name: "1"}, timeout=60
        )


def test_impure_functions():
    state = []

    @mx.compile
    def fun(x, y):
        z = x + y
        state.append(z)
        return mx.exp(z)

    assert fun(mx.array(1.0), mx.array(2.0)).item() == pytest.approx(math.exp(3.0))
    with pytest.raises(mx.TraceError) as error:
        print(state)
    assert "test_compile.py" in str(error.value)
    fun(mx.array(1.0), mx.array(2.0))
    assert len(state) == 1


def test_state_as_output():
    state = []

    @mx.compile
    def fun(x, y):
        z = x + y
        state.append(z)
        return mx.exp(z), state

    _, state = fun(mx.array(1.0), mx.array(2.0))
    assert repr(state) == "[array(3, dtype=float32)]"


def test_captured_arrays_are_constants():
    state = [mx.array(1.0)]

    @mx.compile
    def fun(x):
        return x + state[0]

    assert repr(fun(mx.array(1.0))) == "array(2, dtype=float32)"
    state[0] = mx.array(5.0)
    assert repr(fun(mx.array(1.0))) == "array(2, dtype=float32)"


def test_closures_of_one_structure():
    def make(n):
        c = mx.array(float(n))
        return mx.compile(lambda x: x + c)

    functions = [make(n) for n in range(10)]
    assert [f(mx.array(1.0)).item() for f in functions] == [n + 1.0 for n in range(10)]


def test_compiled_in_compiled():
    calls = []

    @mx.compile
    def inner(x):
        calls.append(1)
        return mx.exp(-mx.abs(x))

    def outer(x):
        return inner(inner(x))

    x = mx.array([-0.5, 2.0])
    fun = mx.compile(outer)
    expected = np.exp(-np.exp(-np.abs(np.array(x))))
    np.testing.assert_allclose(np.array(fun(x)), expected, rtol=1e-6)
    assert len(calls) == 2
    before = mx.kernel_count()
    mx.eval(fun(x))
    assert mx.kernel_count() - before == 1
    np.testing.assert_allclose(np.array(inner(inner(x))), expected, rtol=1e-6)


# ---- keys -------------------------------------------------------------------------------------


class Color(enum.IntEnum):
    RED = 1


Pair = collections.namedtuple("Pair", "a b")


def test_keys_are_exact():
    @mx.compile
    def fun(*args, **keywords):
        return mx.array(0.0)

    x, y = mx.array(1.0), mx.array([1.0])
    calls = [
        ((x, 0), {}),
        ((x, 0.0), {}),
        ((x, -0.0), {}),
        ((x, False), {}),
        ((x, "0"), {}),
        ((x, None), {}),
        ((x, b"0"), {}),
        ((x, Color.RED), {}),
        ((x, 1), {}),
        ((x, 2**70), {}),
        ((x, 2**71), {}),
        ((x, mx.float32), {}),
        ((x, mx.int32), {}),
        ((x, []), {}),
        ((x, ()), {}),
        ((x, {}), {}),
        (([x], x), {}),
        (([x, x],), {}),
        (((x, x),), {}),
        ((Pair(x, x),), {}),
        (([[x], x],), {}),
        (([x, [x]],), {}),
        ((x, y), {}),
        ((y, x), {}),
        ((x,), {"k": x}),
        ((x,), {"l": x}),
        (({"k": x},), {}),
        (({"l": x},), {}),
        (({1: x},), {}),
        (({True: x},), {}),
        (({(1, "a"): x},), {}),
        ((x, "ab", "c"), {}),
        ((x, "a", "bc"), {}),
        ((x, 1j), {}),
        ((x, "\ud800"), {}),
    ]
    assert [traced_by(fun, *args, **keywords) for args, keywords in calls] == [1] * len(calls)
    assert [traced_by(fun, *args, **keywords) for args, keywords in calls] == [0] * len(calls)


def test_order_of_names_does_not_count():
    @mx.compile
    def fun(a=None, b=None, d=None):
        if d is not None:
            return d["p"] - d["q"]
        return a - b

    x, y = mx.array(5.0), mx.array(3.0)
    assert fun(a=x, b=y).item() == 2
    assert traced_by(lambda: fun(b=y, a=x)) == 0
    assert fun(b=y, a=x).item() == 2
    assert fun(d={"p": x, "q": y}).item() == 2
    assert traced_by(lambda: fun(d={"q": y, "p": x})) == 0
    assert fun(d={"q": y, "p": x}).item() == 2
    assert fun(d={"q": y, "p": x, 3: None, (1, 2): 0.5}).item() == 2
    assert fun(d={(1, 2): 0.5, 3: None, "p": x, "q": y}).item() == 2


def test_arguments_arrive_as_they_were():
    seen = []

    @mx.compile
    def fun(*args, **keywords):
        seen.append((args, keywords))
        return mx.array(1.0)

    x = mx.array([1.0, 2.0])
    fun([x, 1, "a"], (x, None), {"k": {"z": x, "a": [2.5]}}, Pair(x, True), mx.int8, name=Color.RED)
    args, keywords = seen[0]
    assert type(args[0]) is list and args[0][1:] == [1, "a"] and args[0][0].shape == (2,)
    assert type(args[1]) is tuple and args[1][1] is None
    assert list(args[2]["k"]) == ["z", "a"] and args[2]["k"]["a"] == [2.5]
    assert type(args[3]) is Pair and args[3].b is True and args[3].a.dtype == mx.float32
    assert args[4] is mx.int8
    assert keywords == {"name": Color.RED} and type(keywords["name"]) is Color


def test_numpy_arguments():
    @mx.compile
    def fun(x, y):
        return x + y

    assert fun(np.ones(3, np.float32), np.float32(2)).tolist() == [3.0, 3.0, 3.0]
    assert traced_by(fun, np.zeros(3, np.float32), np.float32(3)) == 0


def test_many_arguments():
    @mx.compile
    def fun(xs, d):
        total = xs[0]
        for x in xs[1:]:
            total = total + x
        return total, {k: v * 2 for k, v in d.items()}, xs

    xs = [mx.array(float(i)) for i in range(300)]
    d = {f"name {i}": mx.array(float(i)) for i in range(100)}
    for _ in range(2):
        total, doubled, back = fun(xs, d)
        assert total.item() == sum(range(300))
        assert [v.item() for v in doubled.values()] == [2.0 * i for i in range(100)]
        assert list(doubled) == list(d)
        assert [x.item() for x in back] == list(range(300))


# ---- results -------------------------------------------------------------------------------------


def test_structures_of_results():
    @mx.compile
    def fun(x):
        y = x + 1
        return {"a": [y, (x, None, 3, 2.5, "s")], 2: Pair(y, {}), "e": [], "c": mx.array(7.0)}

    for _ in range(2):
        result = fun(mx.array(1.0))
        assert list(result) == ["a", 2, "e", "c"]
        assert result["a"][0].item() == 2
        assert result["a"][1][0].item() == 1
        assert result["a"][1][1:] == (None, 3, 2.5, "s")
        assert type(result[2]) is Pair and result[2].a.item() == 2 and result[2].b == {}
        assert result["e"] == []
        assert result["c"].item() == 7
    assert fun(mx.array(1.0))["e"] is not result["e"]


@pytest.mark.parametrize("value", [None, 3, "a", (), [], {}, (1, [None])])
def test_results_without_arrays(value):
    fun = mx.compile(lambda x: value)
    assert fun(mx.array(1.0)) == value
    assert fun(mx.array(1.0)) == value


def test_no_arguments():
    assert mx.compile(lambda: mx.array([1.0]) + 1)().tolist() == [2.0]


def test_an_argument_as_result():
    fun = mx.compile(lambda x, y: (y, x, x))
    x, y = mx.array([1.0]), mx.array([2])
    for _ in range(2):
        a, b, c = fun(x, y)
        assert (a.tolist(), b.tolist(), c.tolist()) == ([2], [1.0], [1.0])


def test_outputs_are_kept_across_calls():
    fun = mx.compile(lambda x: x * 2)
    results = [fun(mx.array([float(i), 1.0])) for i in range(20)]
    assert [r.tolist() for r in results] == [[2.0 * i, 2.0] for i in range(20)]
    x = mx.array([1.0])
    for _ in range(10):
        x = fun(x)
    assert x.tolist() == [1024.0]


def test_lazy_arguments():
    fun = mx.compile(lambda x: x * 2)
    x = mx.array([1.0, 2.0])
    assert fun(mx.exp(x) - mx.exp(x) + x).tolist() == [2.0, 4.0]
    assert fun(x[::-1]).tolist() == [4.0, 2.0]
    assert fun(mx.broadcast_to(x[:1], (3,))).tolist() == [2.0, 2.0, 2.0]


def test_random_numbers_with_a_key():
    fun = mx.compile(lambda key: mx.random.uniform(shape=(4,), key=key))
    a, b = mx.random.key(1), mx.random.key(2)
    assert fun(a).tolist() == mx.random.uniform(shape=(4,), key=a).tolist()
    assert fun(b).tolist() == mx.random.uniform(shape=(4,), key=b).tolist()


# ---- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args, keywords, path",
    [
        ((set(),), {}, "argument 0 is a set"),
        ((1, [{"a": (0, object())}]), {}, r"argument 1\[0\]\['a'\]\[1\] is a object"),
        ((1,), {"y": [object()]}, r"argument 'y'\[0\] is a object"),
        (({object(): 1},), {}, "argument 0 has a key of type object"),
    ],
)
def test_arguments_of_other_types(args, keywords, path):
    fun = mx.compile(lambda *a, **k: mx.array(1))
    with pytest.raises(TypeError, match=path):
        fun(*args, **keywords)


@pytest.mark.parametrize(
    "result, path",
    [
        (lambda x: {1}, "output is a set"),
        (lambda x: [x, {"a": {1}}], r"output\[1\]\['a'\] is a set"),
        (lambda x: (x, np.zeros(3)), r"output\[1\] is a numpy.ndarray"),
    ],
)
def test_results_of_other_types(result, path):
    def named(x):
        return result(x)

    fun = mx.compile(named)
    for _ in range(2):
        with pytest.raises(TypeError, match="'named': " + path):
            fun(mx.array(1.0))


def test_exceptions_pass_unchanged():
    class Mine(Exception):
        pass

    fail = [True]

    @mx.compile
    def fun(x):
        if fail[0]:
            raise Mine("text", 3)
        return x + 1

    with pytest.raises(Mine) as error:
        fun(mx.array(1.0))
    assert error.value.args == ("text", 3)
    fail[0] = False
    assert fun(mx.array(1.0)).item() == 2


def test_errors_of_operations_inside():
    @mx.compile
    def fun(x):
        try:
            x + mx.zeros((7, 7))
        except ValueError:
            pass
        return x + 1

    assert fun(mx.array([1.0, 2.0])).tolist() == [2.0, 3.0]
    with pytest.raises(ValueError):
        mx.compile(lambda x: x.reshape(7))(mx.array([1.0, 2.0]))
    assert mx.exp(mx.array(0.0)).item() == 1


def test_recursion_is_an_error_not_a_crash():
    nest = []
    nest.append(nest)
    with pytest.raises(RecursionError):
        mx.compile(lambda x: x)(nest)
    with pytest.raises(RecursionError):
        mx.compile(lambda x: nest)(mx.array(1.0))
    with pytest.raises(RecursionError):
        mx.eval(nest)


def test_wrong_uses_of_compile():
    for wrong in (3, None, "f"):
        with pytest.raises(TypeError, match="function"):
            mx.compile(wrong)
    with pytest.raises(TypeError, match="shapless"):
        mx.compile(lambda x: x, shapless=True)


# ---- as a Python function --------------------------------------------------------------------------------


def test_attributes():
    @mx.compile
    def fun(x: mx.array, *, k: int = 1) -> mx.array:
        """What it does."""
        return x * k

    fun.note = 5
    assert fun.__name__ == "fun" and fun.__doc__ == "What it does."
    assert fun.__module__ == __name__ and fun.__qualname__.endswith("fun")
    assert list(inspect.signature(fun).parameters) == ["x", "k"]
    assert fun.note == 5 and not hasattr(fun.__wrapped__, "note")
    assert fun.__annotations__["k"] is int
    assert "fun" in repr(fun) and callable(fun)
    with pytest.raises(AttributeError):
        fun.missing
    assert mx.compile(fun) is fun
    assert weakref.ref(fun)() is fun


def test_methods_and_partials():
    class Model:
        def __init__(self, w):
            self.w = mx.array(w)

        def forward(self, x):
            return x * self.w

        def __call__(self, x):
            return x + self.w

        @staticmethod
        @mx.compile
        def double(x):
            return x * 2

    a, b = Model(2.0), Model(3.0)
    x = mx.array(5.0)
    assert mx.compile(a.forward)(x).item() == 10
    assert mx.compile(b.forward)(x).item() == 15
    assert traced_by(lambda: mx.compile(a.forward)(x)) == 0
    assert mx.compile(a)(x).item() == 7
    assert a.double(x).item() == 10
    power = mx.compile(functools.partial(lambda n, x: x * n, 3))
    assert power(x).item() == 15
    assert mx.compile(mx.exp)(mx.array(0.0)).item() == 1
    assert functools.partial(mx.compile, fun=nn.relu)()(x).item() == 5


def test_compiled_attribute_of_a_class_binds_self():
    class State(dict):
        @mx.compile
        def total(self):
            return self["a"] + self["b"]

    assert State(a=mx.array(1.0), b=mx.array(2.0)).total().item() == 3


def test_programs_go_with_their_function():
    def make():
        class Big:
            pass

        big = Big()
        captured = mx.zeros((1000, 1000)) + 1

        def fun(x):
            big.used = True
            return x + captured[0, 0]

        big.fun = mx.compile(fun)  # a cycle: big -> compiled -> fun -> big
        assert big.fun(mx.array(1.0)).item() == 2
        return weakref.ref(big), weakref.ref(fun), weakref.ref(big.fun)

    gc.collect()
    before = mx.get_active_memory()
    references = make()
    gc.collect()
    assert [r() for r in references] == [None] * 3
    assert mx.get_active_memory() <= before + 4096


def test_functions_made_and_dropped():
    x = mx.array(1.0)
    for i in range(200):
        assert mx.compile(lambda x, i=i: x + i)(x).item() == 1.0 + i


def test_a_name_is_kept_for_another_function_at_the_same_address():
    x = mx.array(2.0)

    def once(n):
        def fun(x):
            return x * n

        return mx.compile(fun)(x).item()

    assert [once(float(n)) for n in range(50)] == [2.0 * n for n in range(50)]


def test_one_call_traces_once():
    calls = []

    def fun(x):
        calls.append(1)
        return x + 1

    compiled = mx.compile(fun)
    for i in range(5):
        compiled(mx.array(float(i)))
    assert len(calls) == 1
