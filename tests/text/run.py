"""Runs the texts beside it: each *.t holds cases, separated by blank lines.

    # softmax over rows, and what it may cost
    in       x float32[64,1000] normal
    out      softmax(x, -1)
    kernels  1
    reads    x 1
    close    numpy 1e-6

in NAME DTYPE[SHAPE] VALUES   an input: normal, uniform, positive, whole, bits, steps, zeros, or a
                              number; with `turned` it is laid out transposed in memory
let NAME = EXPRESSION         an array on the way
out EXPRESSION                a result; several are evaluated together
kernels N                     launches that evaluating takes
reads NAME N                  kernels that load the input (it needs a dtype and shape of its own)
close numpy TOLERANCE         results against the same expressions over numpy in float64;
                              TOLERANCE is relative and, below 1, absolute
want EXPRESSION               what numpy computes instead, one for each `out`
dtype NAME                    of the first result

Expressions see ferrule.core's functions (numpy's of the same names, or those below, for `close`).
"""

import math
import pathlib
import re

import ferrule.core as mx
import numpy as np
import pytest

DTYPES = {
    n: getattr(mx, n)
    for n in "uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 bfloat16 float32 float64".split()
}
DTYPES["bool"] = mx.bool_


class Numpy:
    """ferrule.core over numpy: float64 for all floats, so only values are compared."""

    erf = staticmethod(np.vectorize(math.erf, otypes=[float]))
    float16 = bfloat16 = float32 = float64 = np.float64
    int8, int16, int32, int64 = np.int8, np.int16, np.int32, np.int64
    uint8, uint16, uint32, uint64, bool_ = np.uint8, np.uint16, np.uint32, np.uint64, np.bool_
    inf, nan, pi = np.inf, np.nan, np.pi

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    @staticmethod
    def rsqrt(x):
        return 1 / np.sqrt(x)

    @staticmethod
    def softmax(x, axis=None):
        e = np.exp(x - np.max(x, axis=axis, keepdims=True))
        return e / np.sum(e, axis=axis, keepdims=True)

    @staticmethod
    def logsumexp(x, axis=None, keepdims=False):
        m = np.max(x, axis=axis, keepdims=True)
        y = m + np.log(np.sum(np.exp(x - m), axis=axis, keepdims=True))
        return y if keepdims else np.squeeze(y, axis=axis)

    @staticmethod
    def contiguous(x):
        return x


class Names(dict):
    """Names of an expression: the case's own, evaluated when wanted, then the module's."""

    def __init__(self, module, inputs, lets):
        super().__init__(inputs)
        self.module, self.lets = module, lets

    def __missing__(self, name):
        if name in self.lets:
            self[name] = eval(self.lets[name], {}, self)
            return self[name]
        try:
            return getattr(self.module, name)
        except AttributeError:
            raise KeyError(name) from None


def cases():
    for path in sorted(pathlib.Path(__file__).parent.glob("*.t")):
        lines, start = [], 1
        for number, line in enumerate([*path.read_text().splitlines(), ""], 1):
            if line.strip():
                start = start if lines else number
                lines.append((number, line))
            elif lines:
                if any(not text.startswith("#") for _, text in lines):
                    yield pytest.param(path.name, lines, id=f"{path.stem}-{start}")
                lines = []


def values(kind, shape, seed):
    random = np.random.default_rng(seed)
    if kind == "normal":
        return random.normal(size=shape)
    if kind == "uniform":
        return random.uniform(size=shape)
    if kind == "positive":
        return random.uniform(0.5, 3, size=shape)
    if kind == "whole":
        return random.integers(-4, 5, size=shape)
    if kind == "bits":
        return random.integers(0, 2, size=shape)
    if kind == "steps":
        return np.arange(math.prod(shape)).reshape(shape)
    return np.full(shape, 0.0 if kind == "zeros" else float(kind))


def make_input(text, seed):
    name, dtype, shape, kind, turned = re.fullmatch(
        r"(\w+) (\w+)\[([\d,]*)\] (\S+)( turned)?", text
    ).groups()
    shape = tuple(int(n) for n in shape.split(",") if n)
    v = values(kind, shape, seed)
    x = mx.array(np.ascontiguousarray(v.T if turned else v, dtype=np.float64).astype(np.float32))
    x = x.reshape(shape[::-1] if turned else shape).astype(DTYPES[dtype])
    x = mx.contiguous(x)
    mx.eval(x)
    x = x.T if turned else x
    mx.eval(x)
    return name, x


def as_numpy(x):
    if x.dtype in (mx.float16, mx.bfloat16, mx.float32):
        return np.array(x.astype(mx.float32)).astype(np.float64)
    return np.array(x)


def kernels_reading(text, x):
    """Groups of the printed trace that reach the leaf of x's dtype and sizes (views of what is
    evaluated are leaves too)."""
    like = (x.dtype.name, sorted(x.shape))
    leaf, inputs, group, found = None, {}, None, set()
    for line in text.split(" kernel 0\n")[0].splitlines():
        if line.startswith(" group"):
            group = line.split()[1]
        m = re.match(r"  %(\d+) (\S+) (\S+)\[([\d,]*)\](.*)", line)
        if not m:
            continue
        node, op, dtype, dims, rest = m.groups()
        if op == "LEAF":
            if (dtype, sorted(int(n) for n in dims.split(",") if n)) == like:
                assert leaf is None, "reads: two inputs are alike"
                leaf = node
            continue
        inputs[node] = (group, re.findall(r"%(\d+)", rest))
    reaches = {leaf}  # the leaf, and what is computed from it wherever it is wanted
    for node, (group, operands) in inputs.items():
        if group is None and reaches & set(operands):
            reaches.add(node)
    for group, operands in inputs.values():
        if group is not None and reaches & set(operands):
            found.add(group)
    assert leaf is not None, "reads: no kernel's input is like this"
    return len(found)


class Case:
    def __init__(self, lines):
        self.inputs, self.lets, self.outs, self.wants, self.checks = {}, {}, [], [], []
        for number, line in lines:
            if line.startswith("#"):
                continue
            word, _, rest = line.partition(" ")
            rest = rest.strip()
            if word == "in":
                name, x = make_input(rest, number)
                self.inputs[name] = x
            elif word == "let":
                name, _, expression = rest.partition("=")
                self.lets[name.strip()] = expression.strip()
            elif word in ("out", "want"):
                (self.outs if word == "out" else self.wants).append(rest)
            elif word in ("kernels", "reads", "close", "dtype"):
                self.checks.append((word, rest.split()))
            else:
                raise ValueError(f"line {number}: no such word: {word}")
        if not self.outs or not self.checks:
            raise ValueError("a case needs `out` and something to check")

    def build(self, module, inputs, outs):
        names = Names(module, inputs, self.lets)
        return [eval(expression, {}, names) for expression in outs]

    def check_close(self, results, tolerance):
        inputs = {name: as_numpy(x) for name, x in self.inputs.items()}
        with np.errstate(all="ignore"):
            wanted = self.build(Numpy(), inputs, self.wants or self.outs)
        assert len(wanted) == len(results)
        for y, want in zip(results, wanted):
            assert tuple(y.shape) == np.shape(want)
            np.testing.assert_allclose(as_numpy(y), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("file, lines", list(cases()))
def test_text(file, lines):
    case = Case(lines)
    results = case.build(mx, case.inputs, case.outs)
    text = mx.describe(*results)
    before = mx.kernel_count()
    mx.eval(*results)
    launched = mx.kernel_count() - before
    for word, rest in case.checks:
        if word == "kernels":
            assert launched == int(rest[0]), text
        elif word == "reads":
            assert kernels_reading(text, case.inputs[rest[0]]) == int(rest[1]), text
        elif word == "dtype":
            assert results[0].dtype == DTYPES[rest[0]]
        else:
            assert rest[0] == "numpy"
            case.check_close(results, float(rest[1]))
