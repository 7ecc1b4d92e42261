"""Bad arguments of every kind to every public function: an error that names the function, and no harm.

The stubs say which functions there are and what each parameter is. A good call reaches beyond the
first parameter; then each argument in turn is replaced by each of VALUES. That may well succeed:
what is bad for one function is good for another.
"""

import ast
import gc
import math
import os

import ferrule
import ferrule.core as mx
import numpy as np
import pytest

pytestmark = pytest.mark.cpu_only(
    "arguments are checked before a device has anything to do, and copies on devices stay"
)

with open(os.path.join(os.path.dirname(ferrule.__file__), "core.pyi"), encoding="utf-8") as file:
    STUBS = ast.parse(file.read()).body

ALLOWED = (TypeError, ValueError, IndexError, OverflowError, MemoryError, RuntimeError)
MODULES = ["random", "linalg", "fast"]


class Unwilling:
    """Whatever is asked of it raises, an exception of its own."""

    class Refusal(ValueError):
        pass

    def refuse(self, *_):
        raise Unwilling.Refusal("no")

    __index__ = __len__ = __float__ = __iter__ = __getitem__ = __int__ = __bool__ = refuse
    __complex__ = __array__ = __dlpack__ = __call__ = __fspath__ = refuse


class Liar:
    """A sequence that is shorter than it says."""

    def __len__(self):
        return 5

    def __getitem__(self, i):
        if i > 1:
            raise IndexError(i)
        return 1


def endless():
    x = []
    x.append(x)
    return x


def leaked_placeholder():
    kept = []

    @mx.compile
    def keep(x):
        kept.append(x)
        return x + 1

    keep(mx.ones((4, 4)))
    return kept[0]


VALUES = {
    "nothing": None,
    "object": object(),
    "text": "text",
    "bytes": b"bytes",
    "true": True,
    "half": 1.5,
    "nan": math.nan,
    "infinity": -math.inf,
    "imaginary": 2j,
    "minus one": -1,
    "zero": 0,
    "seven": 7,
    "2**31": 2**31,
    "-2**31-1": -(2**31) - 1,
    "2**63-1": 2**63 - 1,
    "-2**63": -(2**63),
    "2**70": 2**70,
    "-2**70": -(2**70),
    "10**400": 10**400,
    "empty tuple": (),
    "empty list": [],
    "list of an empty list": [[]],
    "list of None": [None],
    "dict": {},
    "set": {1, 2},
    "axes twice": (0, 0),
    "axes out of range": [3, -9],
    "huge shape": (2**40, 2**40),
    "negative shape": (-3, 2),
    "large shape": (2**31, 2),
    "many axes": tuple(range(70)),
    "fractions": (0.5, 1.5),
    "ragged": [[1, 2], [3]],
    "endless": endless(),
    "range": range(2),
    "slice": slice(None, None, 0),
    "dots": ...,
    "function": lambda *x: x,
    "type": int,
    "dtype": mx.float32,
    "int dtype": mx.int8,
    "complex dtype": mx.complex64,
    "unwilling": Unwilling(),
    "liar": Liar(),
    "numpy objects": np.array([None, 1], dtype=object),
    "numpy texts": np.array(["a"]),
    "numpy dates": np.array([1], dtype="datetime64[s]"),
    "0-d": mx.array(1.0),
    "none of them": mx.zeros((0,)),
    "no columns": mx.zeros((4, 0)),
    "vector": mx.arange(3),
    "matrix": mx.ones((3, 5)),
    "cube": mx.ones((2, 3, 4)),
    "many dimensions": mx.ones((1,) * 8),
    "bools": mx.array([True, False, True, True]),
    "bytes array": mx.full((4, 4), 200, dtype=mx.uint8),
    "halves": mx.ones((4, 4), dtype=mx.float16),
    "doubles": mx.ones((4, 4), dtype=mx.float64),
    "complex": mx.ones((4, 4), dtype=mx.complex64),
    "nans": mx.full((4, 4), math.nan),
    "far indices": mx.array([[2**31 - 1, -(2**31), 4, -5]] * 4),
    "broadcast": mx.broadcast_to(mx.array(1.0), (2**40,)),
    "list of arrays": [mx.ones((4, 4)), mx.ones((3,))],
}


# Computed now, so that no test makes memory of theirs; but not the endless one.
mx.eval(
    [x for x in VALUES.values() if isinstance(x, mx.array) and x.size < 100],
    VALUES["list of arrays"],
)
VALUES["leaked placeholder"] = leaked_placeholder()


def saved_file():
    np.save("saved.npy", np.ones((4, 4), np.float32))
    return "saved.npy"


# Good arguments where the kind alone does not tell one. Keys: function.parameter,
# CLASS.*.parameter, *.parameter.
GOOD = {
    "*.axes": lambda: (0, 1),
    "*.fun": lambda: mx.square,
    "*.primals": lambda: [mx.array(2.0)],
    "*.cotangents": lambda: [mx.array(1.0)],
    "*.tangents": lambda: [mx.array(1.0)],
    "*.indices": lambda: mx.zeros((4, 4), dtype=mx.int32),
    "*.segments": lambda: mx.array([[0, 2], [2, 4]]),
    "*.compiled": lambda: mx.compile(mx.square),
    "*.key": lambda: mx.random.key(1),
    "*.mode": lambda: "constant",
    "*.subscripts": lambda: "ij->ji",
    "*.level": lambda: "graph",
    "*.device": lambda: mx.cpu,
    "*.device_type": lambda: mx.cpu,
    "*.d": lambda: mx.cpu,
    "*.file": lambda: "file",
    "*.s": lambda: mx.cpu,
    "array.transpose.axes": lambda: (1, 0),
    "transpose.axes": lambda: (1, 0),
    "einsum.operands": lambda: mx.ones((4, 4)),
    "isdtype.kind": lambda: "integral",
    "can_cast.from_": lambda: mx.float32,
    "issubdtype.arg1": lambda: mx.float32,
    "issubdtype.arg2": lambda: mx.floating,
    "result_type.arrays_and_dtypes": lambda: mx.float32,
    "convolve.a": lambda: mx.arange(4.0),
    "convolve.v": lambda: mx.arange(3.0),
    "convolve.mode": lambda: "full",
    "slice.start_indices": lambda: mx.array([0, 0]),
    "slice.slice_size": lambda: (2, 2),
    "slice_update.update": lambda: mx.ones((2, 2)),
    "slice_update.start_indices": lambda: mx.array([0, 0]),
    "unflatten.shape": lambda: (2, 2),
    "reshape.shape": lambda: (2, 8),
    "as_strided.strides": lambda: (1, 4),
    "conv1d.input": lambda: mx.ones((1, 4, 2)),
    "conv1d.weight": lambda: mx.ones((3, 2, 2)),
    "conv_general.input": lambda: mx.ones((1, 4, 2)),
    "conv_general.weight": lambda: mx.ones((3, 2, 2)),
    "conv2d.input": lambda: mx.ones((1, 4, 4, 2)),
    "conv2d.weight": lambda: mx.ones((3, 2, 2, 2)),
    "conv3d.input": lambda: mx.ones((1, 4, 4, 4, 2)),
    "conv3d.weight": lambda: mx.ones((3, 2, 2, 2, 2)),
    "conv_transpose1d.input": lambda: mx.ones((1, 4, 2)),
    "conv_transpose1d.weight": lambda: mx.ones((3, 2, 2)),
    "conv_transpose2d.input": lambda: mx.ones((1, 4, 4, 2)),
    "conv_transpose2d.weight": lambda: mx.ones((3, 2, 2, 2)),
    "conv_transpose3d.input": lambda: mx.ones((1, 4, 4, 4, 2)),
    "conv_transpose3d.weight": lambda: mx.ones((3, 2, 2, 2, 2)),
    "block_masked_mm.a": lambda: mx.ones((32, 32)),
    "block_masked_mm.b": lambda: mx.ones((32, 32)),
    "block_masked_mm.block_size": lambda: 32,
    "view.dtype": lambda: mx.int32,
    "linalg.cross.a": lambda: mx.ones((4, 3)),
    "linalg.cross.b": lambda: mx.ones((4, 3)),
    "linalg.cross.axis": lambda: -1,
    "random.bits.width": lambda: 4,
    "random.multivariate_normal.mean": lambda: mx.zeros((4,)),
    "random.multivariate_normal.cov": lambda: mx.eye(4),
    "fast.cross_entropy.targets": lambda: mx.zeros((4,), dtype=mx.int32),
    "fast.rms_norm.weight": lambda: mx.ones((4,)),
    "fast.layer_norm.weight": lambda: mx.ones((4,)),
    "fast.layer_norm.bias": lambda: mx.ones((4,)),
    "fast.rope.a": lambda: mx.ones((1, 2, 3, 4)),
    "fast.rope.dims": lambda: 4,
    "fast.rope.base": lambda: 10000.0,
    "fast.rope.scale": lambda: 1.0,
    "fast.scaled_dot_product_attention.q": lambda: mx.ones((1, 2, 3, 4)),
    "fast.scaled_dot_product_attention.k": lambda: mx.ones((1, 2, 3, 4)),
    "fast.scaled_dot_product_attention.v": lambda: mx.ones((1, 2, 3, 4)),
    "tril.k": lambda: 0,
    "from_fp8.x": lambda: mx.zeros((4, 4), dtype=mx.uint8),
    "save_safetensors.arrays": lambda: {"a": mx.ones((4, 4))},
    "array.split.indices_or_sections": lambda: 2,
    "split.indices_or_sections": lambda: 2,
    "random.permutation.x": lambda: 5,
    "random.split.key": lambda: mx.random.key(1),
    "register_pytree.type": lambda: type("Container", (), {}),
    "*.flatten": lambda: lambda x: ([], None),
    "*.unflatten": lambda: lambda aux, children: None,
    "array.unflatten.shape": lambda: (2, 2),
    "expand_dims.axis": lambda: 0,
    "pad.pad_width": lambda: 1,
    "put_along_axis.axis": lambda: 0,
    "put_along_axis.indices": lambda: mx.zeros((16,), dtype=mx.int32),
    "put_along_axis.values": lambda: 1.0,
    "searchsorted.a": lambda: mx.arange(4.0),
    "searchsorted.sorted_sequence": lambda: mx.arange(4.0),
    "ArrayAt.__getitem__.index": lambda: 0,
    "array.__getitem__.index": lambda: 0,
    "array.__setitem__.index": lambda: 0,
    "array.__setitem__.value": lambda: 1.0,
    "array.__format__.format_spec": lambda: "",
    "ArrayAt.*.value": lambda: 1.0,
    "load.file": saved_file,
    "set_default_stream.stream": lambda: mx.cpu,
    "random.randint.low": lambda: 0,
    "random.randint.high": lambda: 5,
    "array.reshape.shape": lambda: 16,
    "fast.rope.offset": lambda: 0,
}
BY_KIND = {
    "Shape": lambda: (4, 4),
    "Sequence[int]": lambda: (4, 4),
    "Axis": lambda: 0,
    "int": lambda: 1,
    "float": lambda: 0.5,
    "Scalar": lambda: 0.5,
    "bool": lambda: False,
    "str": lambda: "text",
    "Dtype": lambda: mx.float32,
    "Callable[[Any], Tuple[Any, Any]]": lambda: lambda x: ([], None),
    "Sequence[Operand]": lambda: [mx.ones((4, 4)), mx.ones((4, 4))],
}
# Operands of integers alone.
INTEGERS = ("bitwise", "shift", "and__", "or__", "xor__", "invert")
# Functions of one number, which the good array is not.
NEVER_GOOD = {"array." + name for name in ("item", "__bool__", "__int__", "__float__")}
NEVER_GOOD |= {"array.__complex__", "array.__index__"}
# What other libraries' protocols want, and what the system says of a file.
MORE_ALLOWED = {name: (BufferError,) for name in ("array.__dlpack__", "from_dlpack")}
MORE_ALLOWED |= {name: (OSError,) for name in ("load", "save", "savez", "export_to_dot")}
# Errors that can't name the function: they are about none, or about one that was given.
NOT_OURS = (BufferError, OSError, mx.TraceError, MemoryError, RecursionError, Unwilling.Refusal)
CALL_WHAT_IS_GIVEN = {"vjp", "jvp"}


def matrix(name):
    """With a buffer of its own, so that a lost reference shows in the memory that is in use."""
    whole = any(word in name for word in INTEGERS)
    return mx.array(np.ones((4, 4), np.int32 if whole else np.float32))


def good(function, parameter, kind):
    for key in (f"{function}.{parameter}", f"{function.partition('.')[0]}.*.{parameter}"):
        if key in GOOD:
            return GOOD[key]()
    for_all = GOOD.get(f"*.{parameter}") or BY_KIND.get(kind)
    return for_all() if for_all else matrix(function)


def functions():
    """(name, what gives the callable, its stub) of each function and method."""

    def in_class(node, owner):
        for stub in node.body:
            properties = [d for d in getattr(stub, "decorator_list", []) if d.id == "property"]
            if isinstance(stub, ast.FunctionDef) and not properties:
                if stub.name == "__init__":
                    yield "array.array", lambda: mx.array, stub
                elif stub.name != "__buffer__":  # from Python 3.12 on
                    name = f"{node.name}.{stub.name}"
                    yield name, lambda n=stub.name, name=name: getattr(owner(name), n), stub

    for node in STUBS:
        if isinstance(node, ast.FunctionDef):
            yield node.name, lambda n=node.name: getattr(mx, n), node
        elif isinstance(node, ast.ClassDef) and node.name in MODULES:
            yield from in_class(node, lambda name: getattr(mx, name.partition(".")[0]))
        elif isinstance(node, ast.ClassDef) and node.name == "array":
            yield from in_class(node, matrix)
        elif isinstance(node, ast.ClassDef) and node.name == "ArrayAt":
            yield from in_class(node, lambda name: matrix(name).at[0])


def calls(name, stub):
    """What to call it with: (what is bad, arguments, keywords)."""
    a = stub.args
    before = [p for p in a.posonlyargs + a.args if p.arg != "self"]
    only = {p.arg for p in a.posonlyargs}
    required = before[: len(before) - len(a.defaults)]
    required += [a.vararg] if a.vararg else []
    fine = [good(name, p.arg, ast.unparse(p.annotation)) for p in required]
    forced = [p for p, value in zip(a.kwonlyargs, a.kw_defaults) if value is None]
    keywords = {p.arg: good(name, p.arg, ast.unparse(p.annotation)) for p in forced}
    yield "good", fine, keywords
    if fine:
        yield "one too few", fine[:-1], keywords
    if not a.vararg:
        yield "too many", fine + [None] * 20, keywords
    if not a.kwarg and (a.kwonlyargs or before) and "__" not in name:
        yield "unknown keyword", fine, {**keywords, "bogus": 1}
    for what, value in VALUES.items():
        for i, p in enumerate(required):
            yield f"{p.arg}: {what}", [*fine[:i], value, *fine[i + 1 :]], keywords
        for p in before[len(before) - len(a.defaults) :] + a.kwonlyargs:
            if p.arg in only:
                yield f"{p.arg}: {what}", [*fine, value], keywords
            else:
                yield f"{p.arg}: {what}", fine, {**keywords, p.arg: value}


def arrays_in(result):
    if isinstance(result, mx.array):
        yield result
    elif isinstance(result, (list, tuple)):
        for item in result[:10]:
            yield from arrays_in(item)


def names_it(name, f, error):
    if isinstance(error, NOT_OURS) or "debug_nans" in str(error):
        return True
    last = name.rpartition(".")[2]
    if last.startswith("__") or name in CALL_WHAT_IS_GIVEN:  # x + y is add
        return True
    return any(word in str(error) for word in (last, getattr(f, "__name__", last)))


def fault_of(name, f, what, args, keywords):
    """What is wrong with a call's outcome, or None."""
    try:
        result = f(*args, **keywords)
        if "broadcast" not in what:  # which would be too much to compute
            mx.eval([x for x in arrays_in(result) if x.size <= 4096])
    except Exception as error:
        if what == "good" and name not in NEVER_GOOD:
            return f"the good call failed: {error!r}"
        if not isinstance(error, ALLOWED + MORE_ALLOWED.get(name, ())):
            return f"an error of the wrong kind: {error!r}"
        if not names_it(name, f, error):
            return f"the error does not name it: {error!r}"
    return None


class Settings:
    """What some of the functions set for the whole process."""

    def __init__(self):
        self.memory, self.threads = mx.get_memory_limit(), mx.num_threads()
        self.cache = mx.set_cache_limit(2**40)
        self.programs = mx.compile_cache_limit()
        self.stream = mx.default_stream(mx.default_device())
        self.restore()

    def restore(self):
        mx.set_memory_limit(self.memory)
        mx.set_cache_limit(self.cache)
        if mx.num_threads() != self.threads:
            mx.set_num_threads(self.threads)
        mx.compile_cache_limit(self.programs)
        mx.set_printoptions(-1)
        mx.set_default_stream(self.stream)
        mx.debug_nans(False)
        mx.enable_compile()


FUNCTIONS = list(functions())


def test_the_stubs_were_read():
    names = {name for name, _, _ in FUNCTIONS}
    assert {"add", "array.sum", "ArrayAt.add", "random.normal", "linalg.norm", "fast.rope"} <= names
    assert len(names) > 400
    assert len(VALUES) > 50


@pytest.mark.parametrize("name, callable_of, stub", FUNCTIONS, ids=[f[0] for f in FUNCTIONS])
def test_bad_arguments(name, callable_of, stub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for those that write files
    settings = Settings()
    active = mx.get_active_memory()
    faults, tried = [], 0
    for what, args, keywords in calls(name, stub):
        tried += 1
        f = callable_of()
        fault = fault_of(name, f, what, args, keywords)
        settings.restore()
        if fault:
            faults.append(f"{name}, {what}: {fault}")
        assert (mx.array([1.0, 2.0]) + 1).tolist() == [2.0, 3.0], f"after {name}, {what}"
    assert tried >= (len(VALUES) if any(p.arg != "self" for p in stub.args.args) else 1)
    assert not faults, "\n".join(faults[:20])
    del f, args, keywords, fault
    if mx.get_active_memory() != active:
        gc.collect()
        assert mx.get_active_memory() == active, "a call kept an argument"
