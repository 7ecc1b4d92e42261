"""Times of a GPU's kernels in explain."""

import ferrule.core as mx
import pytest


@pytest.mark.skipif(not mx.is_available(mx.gpu), reason="no GPU")
def test_explain_has_times():
    with mx.stream(mx.gpu):
        f = mx.compile(lambda x: (mx.exp(x) @ x, mx.softmax(x, axis=-1).sum()))
        x = mx.ones((64, 64))
        mx.eval(f(x), f(x))
        (program,) = mx.explain(f, as_dict=True)
    assert all(kernel["runs"] >= 2 and kernel["seconds"] > 0 for kernel in program["kernels"])
