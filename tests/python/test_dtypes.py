"""Dtypes: objects and kinds, promotion (promotion.txt says what comes out), view."""

import copy
import pathlib
import pickle

import ferrule.core as mx
import numpy as np
import pytest

SHORT = {
    "b": "bool", "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64", "i8": "int8",
    "i16": "int16", "i32": "int32", "i64": "int64", "f16": "float16", "bf16": "bfloat16",
    "f32": "float32", "f64": "float64", "c64": "complex64",
}  # fmt: skip
NAMES = list(SHORT.values())


def dtype(name):
    return getattr(mx, "bool_" if name == "bool" else name)


ALL = [dtype(name) for name in NAMES]
ONES = {name: mx.array([1, 1]).astype(dtype(name)) for name in NAMES}


def blocks():
    """Title -> {row: [results]} of promotion.txt, whose columns are the dtypes."""
    found = {}
    text = pathlib.Path(__file__).with_name("promotion.txt").read_text(encoding="utf-8")
    for part in text.split("\n\n")[1:]:
        title, head, *lines = part.strip("\n").split("\n")
        columns = head.split()
        rows = {}
        for line in lines:
            words = line.split()
            rows[" ".join(words[: -len(columns)])] = words[-len(columns) :]
        assert columns == list(SHORT)
        found[title] = rows
    return found


TABLE = blocks()
PAIRS = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "concat": lambda x, y: mx.concatenate([x, y]),
    "where": lambda x, y: mx.where(ONES["bool"], x, y),
    "divide": lambda x, y: x / y,
    "power": lambda x, y: x**y,
    "floor_divide": lambda x, y: x // y,
    "remainder": lambda x, y: x % y,
    "arctan2": mx.arctan2,
    "left_shift": lambda x, y: x << y,
    "bitwise_and": lambda x, y: x & y,
}
WITH_NUMBER = {
    **PAIRS,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "floordiv": lambda x, y: x // y,
    "mod": lambda x, y: x % y,
    "pow": lambda x, y: x**y,
    "eq": lambda x, y: x == y,
    "lt": lambda x, y: x < y,
    "and": lambda x, y: x & y,
    "shl": lambda x, y: x << y,
    "max": mx.maximum,
    "logaddexp": mx.logaddexp,
    "iand": mx.logical_and,
}
NUMBERS = {"bool": True, "int": 2, "float": 1.5, "complex": 1j}
# Where ours has a result and MLX an error.
MORE = {("nan_to_num", "f64"): "f64"}


def result(f, *operands):
    try:
        y = f(*operands)
        mx.eval(y)
        return "+".join(one.dtype.name for one in (y if isinstance(y, tuple) else (y,)))
    except (TypeError, ValueError):
        return "error"


def wanted(short):
    return "error" if short == "-" else "+".join(SHORT[one] for one in short.split("+"))


@pytest.mark.parametrize("title", [title for title in TABLE if title.startswith("pairs")])
def test_pairs(title):
    for name in title.split(":")[0].split()[1:]:
        for row, results in TABLE[title].items():
            for column, want in zip(SHORT, results):
                got = result(PAIRS[name], ONES[SHORT[row]], ONES[SHORT[column]])
                assert got == wanted(want), (name, row, column)


def test_with_numbers():
    rows = next(TABLE[title] for title in TABLE if title.startswith("numbers"))
    for row, results in rows.items():
        name, number = row.split()
        for column, want in zip(SHORT, results):
            got = result(WITH_NUMBER[name], ONES[SHORT[column]], NUMBERS[number])
            assert got == wanted(want), (row, column)


@pytest.mark.parametrize("kind", ["functions", "twice"])
def test_of_one_array(kind):
    rows = next(TABLE[title] for title in TABLE if title.startswith(kind))
    for name, results in rows.items():
        for column, want in zip(SHORT, results):
            x = ONES[SHORT[column]]
            got = result(getattr(mx, name), *([x] if kind == "functions" else [x, x]))
            assert got == wanted(MORE.get((name, column), want)), (name, column)


def test_integers_that_do_not_fit():
    for name, good, bad in (
        ("uint8", 255, 256), ("uint8", 0, -1), ("int8", -128, -129), ("int16", 32767, 32768),
        ("int32", 2**31 - 1, 2**31), ("uint32", 2**32 - 1, 2**32),
    ):  # fmt: skip
        x = ONES[name]
        assert (x * good).dtype == x.dtype
        for f in (lambda: x * bad, lambda: bad - x, lambda: x == bad, lambda: mx.maximum(x, bad)):
            with pytest.raises(ValueError, match=f"{bad} does not fit {name}"):
                f()
    assert mx.logical_and(ONES["uint8"], 300).tolist() == [True, True]
    assert (ONES["float32"] * 2**40).tolist() == [2.0**40] * 2


def test_objects():
    assert len(set(ALL)) == len(ALL) == 14
    for d, name in zip(ALL, NAMES):
        assert d == dtype(name) and d.name == name and repr(d) == f"ferrule.core.{name}"
        assert d != name and hash(d) == hash(copy.deepcopy(d))
        assert pickle.loads(pickle.dumps(d)) is d
        assert d.size == (2 if name == "bfloat16" else np.dtype(name).itemsize)
    with pytest.raises(TypeError):
        mx.Dtype()


def test_kinds():
    inside = {
        "complexfloating": ["complex64"],
        "floating": ["float16", "bfloat16", "float32", "float64"],
        "inexact": ["float16", "bfloat16", "float32", "float64", "complex64"],
        "signedinteger": ["int8", "int16", "int32", "int64"],
        "unsignedinteger": ["uint8", "uint16", "uint32", "uint64"],
        "integer": [n for n in NAMES if "int" in n],
        "number": NAMES[1:],
        "generic": NAMES,
    }
    for name, members in inside.items():
        kind = getattr(mx, name)
        assert kind is getattr(mx.DtypeCategory, name) and repr(kind) == f"DtypeCategory.{name}"
        assert [n for n in NAMES if mx.issubdtype(dtype(n), kind)] == members
        assert not any(mx.issubdtype(kind, d) for d in ALL)
        assert pickle.loads(pickle.dumps(kind)) is kind is copy.deepcopy(kind)
        for other, more in inside.items():
            within = set(members) <= set(more) and (name == other or members != more)
            assert mx.issubdtype(kind, getattr(mx, other)) == within, (name, other)
    for a in ALL:
        assert [b for b in ALL if mx.issubdtype(a, b)] == [a]
    for bad in (mx.array(1), "float32", int):
        with pytest.raises(ValueError):
            mx.issubdtype(bad, mx.integer)


def test_isdtype():
    kinds = {
        "bool": "bool", "signed integer": "int8 int16 int32 int64",
        "unsigned integer": "uint8 uint16 uint32 uint64",
        "real floating": "float16 bfloat16 float32 float64", "complex floating": "complex64",
        "integral": " ".join(NAMES[1:9]), "numeric": " ".join(NAMES[1:]),
    }  # fmt: skip
    for kind, members in kinds.items():
        assert " ".join(n for n in NAMES if mx.isdtype(dtype(n), kind)) == members
    assert mx.isdtype(mx.int8, (mx.int16, "signed integer")) and mx.isdtype(mx.int8, mx.int8)
    for bad in ("float", [mx.int8], mx.integer):
        with pytest.raises(ValueError):
            mx.isdtype(mx.int8, bad)
    with pytest.raises(TypeError):
        mx.isdtype(mx.array(1), "bool")


def test_result_type_and_can_cast():
    rows = TABLE[next(iter(TABLE))]
    for row, results in rows.items():
        for column, want in zip(SHORT, results):
            a, b = dtype(SHORT[row]), dtype(SHORT[column])
            assert mx.result_type(a, b).name == SHORT[want]
            assert mx.can_cast(a, b) == (SHORT[want] == b.name)
            assert mx.result_type(ONES[SHORT[row]], b) == mx.result_type(a, b)
    assert mx.result_type(mx.float16, mx.bfloat16, mx.uint8) == mx.float32
    for bad in ((), (1,), (mx.int8, 2.0)):
        with pytest.raises(ValueError):
            mx.result_type(*bad)
    with pytest.raises(ValueError):
        mx.can_cast(1, mx.int8)


def test_finfo_and_iinfo():
    for name in ("float16", "float32", "float64"):
        ours, theirs = mx.finfo(dtype(name)), np.finfo(name)
        for field in ("min", "max", "eps", "smallest_normal", "bits"):
            assert getattr(ours, field) == getattr(theirs, field), (name, field)
        assert ours.dtype == dtype(name)
    b = mx.finfo(mx.bfloat16)
    assert b.eps == 2.0**-7 and b.max == -b.min == (2 - 2.0**-7) * 2.0**127 and b.bits == 16
    assert mx.finfo(mx.complex64).dtype == mx.float32
    assert repr(mx.finfo(mx.float16)) == "finfo(min=-65504, max=65504, dtype=float16)"
    for name in NAMES[1:9]:
        ours, theirs = mx.iinfo(dtype(name)), np.iinfo(name)
        assert (ours.min, ours.max, ours.bits) == (theirs.min, theirs.max, theirs.bits)
    assert repr(mx.iinfo(mx.int8)) == "iinfo(min=-128, max=127, dtype=int8)"
    for f, bad in ((mx.finfo, mx.int8), (mx.iinfo, mx.float32), (mx.iinfo, mx.bool_)):
        with pytest.raises(ValueError):
            f(bad)


# ---- view: the same bits --------------------------------------------------------------------

NUMPY = [n for n in NAMES if n not in ("bfloat16", "bool")]
MEMORY = np.random.default_rng(3).integers(0, 256, 3 * 4 * 16, dtype=np.uint8)
STANDS = {
    "done": lambda x: x,
    "pending": lambda x: mx.stack([x, x])[1],
    "transposed": lambda x: mx.transpose(x, (1, 0, 2)),
    "pending, transposed": lambda x: mx.transpose(mx.stack([x, x])[0], (1, 0, 2)),
    "backwards": lambda x: x[::-1, ::2],
    "steps": lambda x: x[..., ::-1],
}
OF_NUMPY = {
    "transposed": lambda a: np.transpose(a, (1, 0, 2)),
    "pending, transposed": lambda a: np.transpose(a, (1, 0, 2)),
    "backwards": lambda a: a[::-1, ::2],
    "steps": lambda a: a[..., ::-1],
}


@pytest.mark.parametrize("stands", STANDS)
@pytest.mark.parametrize("source", NUMPY)
def test_view(source, stands):
    a = MEMORY.view(source).reshape(3, 4, -1)
    x = STANDS[stands](mx.array(a, dtype=dtype(source)))
    b = np.ascontiguousarray(OF_NUMPY.get(stands, lambda a: a)(a))
    assert bytes(np.array(x)) == b.tobytes() or source == "float16"  # NaN are made quiet
    quiet = np.isnan(b.astype(complex)).any() and "pending" in stands
    for to in NUMPY:
        got = mx.view(x, dtype(to))
        want = b.view(to)
        assert got.dtype == dtype(to) and got.shape == want.shape
        if not quiet:
            assert bytes(np.array(got)) == want.tobytes() or np.isnan(want.astype(complex)).any()
        same = (np.array(got) == want) | np.isnan(want.astype(complex))
        assert quiet or same.all(), (source, to)


def test_view_of_halves_is_exact():
    bits = np.arange(1 << 16, dtype=np.uint16)
    for name in ("float16", "bfloat16"):
        done = mx.array(bits).view(dtype(name))
        for x in (done, mx.stack([done])[0]):  # in memory, and in a kernel
            back = np.array((x + 0 if x is done else x).view(mx.uint16))
            nan = np.isnan(np.array(x.astype(mx.float32)))
            zero = bits == 0x8000  # -0 + 0 is 0
            assert ((back == bits) | nan | zero).all()
        made = mx.array(bits.astype(np.int32)).astype(mx.uint16).view(dtype(name))
        want = np.array(done.astype(mx.float32))
        got = np.array(made.astype(mx.float32))
        assert ((got == want) | np.isnan(want)).all() and (np.isnan(got) == np.isnan(want)).all()


def test_view_in_a_kernel():
    x = mx.array([1.0, -2.5, 0.0])
    y = mx.abs(x * 2).view(mx.int32) >> 23
    text = mx.describe(y)
    assert text.count("\n kernel ") == 1 and y.tolist() == [128, 129, 0]
    z = mx.compile(lambda a: (a + 1).view(mx.uint8))(mx.array([[1], [-2]]))
    assert z.tolist() == [[2, 0, 0, 0], [255, 255, 255, 255]]
    assert mx.view(True, mx.uint8).item() == 1 and mx.view(1.0, mx.int32).item() == 0x3F800000
    assert mx.array([0, 2], dtype=mx.uint8).view(mx.bool_).tolist() == [False, True]
    assert mx.array([True]).view(mx.int8).tolist() == [1]
    assert mx.zeros((2, 0)).view(mx.int8).shape == (2, 0)
    assert mx.array([1 + 2j]).view(mx.float32).tolist() == [1, 2]
    assert (mx.array([1.0, 2.0]) * 1).view(mx.complex64).tolist() == [1 + 2j]
    doubled = mx.vmap(lambda r: (r * 2).view(mx.int16))(mx.array([[1, 2], [3, 4]]))
    assert doubled.tolist() == [[2, 0, 4, 0], [6, 0, 8, 0]]


def test_view_of_what_does_not_fit():
    with pytest.raises(ValueError, match="no whole number"):
        mx.zeros((2, 3), mx.int16).view(mx.int32)
    with pytest.raises(ValueError, match="another size"):
        mx.array(1).view(mx.int8)
    with pytest.raises(TypeError):
        mx.array([1]).view("int8")
