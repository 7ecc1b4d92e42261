"""What the compiler makes of a few graphs, in full: mx.describe's text against tests/golden/*.txt.

A change of these texts is a change of what is computed and how. When it is meant:

    python tests/python/test_golden.py        writes them anew; read the diff
"""

import pathlib

import ferrule.core as mx
import pytest

pytestmark = pytest.mark.cpu_only("the texts are what is made for a CPU")
FOLDER = pathlib.Path(__file__).parent.parent / "golden"


def ones(*shape, dtype=mx.float32):
    x = mx.ones(shape, dtype=dtype)
    mx.eval(x)
    return x


def gelu():
    x = ones(64, 1000)
    return x * 0.5 * (1 + mx.erf(x * 0.7071067811865476))


def softmax():
    return mx.softmax(ones(64, 1000), -1)


def layer_norm():
    x, w, b = ones(64, 768), ones(768), ones(1, 768)
    m = mx.mean(x, -1, keepdims=True)
    v = mx.var(x, -1, keepdims=True)
    return (x - m) * mx.rsqrt(v + 1e-5) * w + b


def column_sum():
    return mx.sum(ones(20000, 17), 0)


def full_sum():
    x = ones(300001)
    return mx.sum(x * x)


def transposed_read():
    return ones(30, 70).T + ones(70, 30)


def half_precision():
    x = ones(40, 50, dtype=mx.float16)
    return mx.exp(x).astype(mx.bfloat16) * 3


def random_sum():
    return mx.sum(mx.random.normal((64, 1000), key=mx.random.key(3)), -1)


GRAPHS = [gelu, softmax, layer_norm, column_sum, full_sum, transposed_read, half_precision]
GRAPHS += [random_sum]


def golden(graph):
    return FOLDER / f"{graph.__name__}.txt"


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda g: g.__name__)
def test_golden(graph):
    assert mx.describe(graph()) == golden(graph).read_text()


def test_no_golden_text_is_left_over():
    assert {p.name for p in FOLDER.iterdir()} == {golden(g).name for g in GRAPHS}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for g in GRAPHS:
        golden(g).write_text(mx.describe(g()))
