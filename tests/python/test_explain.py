"""What compile did can be asked: programs, reasons, constants, kernels, a file of events."""

import json
import subprocess
import sys

import ferrule.core as mx
import pytest

table = {"a": [mx.array([3.0, 4.0])]}
scale = mx.array([1.0, 2.0])


@pytest.mark.cpu_only("what is queued has no time of its own yet")
def test_kernels():
    f = mx.compile(lambda x: mx.softmax(mx.exp(x) * 2, axis=-1).sum())
    x = mx.ones((64, 1000))
    for _ in range(3):
        f(x)
    (program,) = mx.explain(f, as_dict=True)
    first = program["kernels"][0]
    assert "exp" in first["ops"].split() and "multiply" in first["ops"].split()
    assert first["reads"] >= 64 * 1000 * 4 and first["runs"] == 3 and first["seconds"] > 0
    last = program["kernels"][-1]
    assert last["why"] == "a result" and last["writes"] == 4
    assert all(k["why"] for k in program["kernels"])
    text = mx.explain(f)
    assert "reads 256000 bytes" in text and "a result" in text and "3 runs" in text
    assert program["donations"] == []


def test_constants_and_their_places():
    inner = mx.array([5.0, 6.0])
    f = mx.compile(lambda x, y=table["a"][0]: x * scale + inner - table["a"][0])
    f(mx.ones((2,)), mx.ones((2,)))
    (program,) = mx.explain(f, as_dict=True)
    places = [c["place"] for c in program["constants"]]
    assert sorted(c["bytes"] for c in program["constants"]) == [8, 8, 8]
    assert any(p.startswith("inner, a variable") for p in places)
    assert any(p.startswith("scale, a global") for p in places)
    assert any("table['a'][0]" in p or "defaults" in p for p in places)
    assert "inner, a variable around the function" in mx.explain(f)

    class Model:
        def __init__(self):
            self.w = mx.array([1.0])

        def run(self, x):
            return x * self.w

    g = mx.compile(Model().run)
    g(mx.ones((1,)))
    assert mx.explain(g, as_dict=True)[0]["constants"][0]["place"] == "self.w, an attribute"


PROGRAM = """
import ferrule.core as mx
f = mx.compile(lambda x: mx.exp(x) + 1)
for n in range(1, 300):
    f(mx.ones((n % 7 + 1,)))
print(mx.array(1.0).item())
"""


def run(**environment):
    import os

    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.cpu_only("what is queued is no event on the host")
def test_a_file_of_events(tmp_path):
    path = tmp_path / "events.json"
    done = run(FERRULE_TRACE=str(path))
    assert done.returncode == 0 and done.stderr == ""
    events = json.loads(path.read_text())
    assert len(events) >= 299
    assert {"kernel", "plan"} <= {e["cat"] for e in events}
    for e in events:
        assert e["ph"] == "X" and e["dur"] >= 0 and e["ts"] > 0 and e["name"]


def test_a_file_that_cannot_be_written(tmp_path):
    done = run(FERRULE_TRACE=str(tmp_path / "missing" / "events.json"))
    assert done.returncode == 0 and done.stdout == "1.0\n"
    assert "RuntimeWarning" in done.stderr and "no events are noted" in done.stderr


def test_every_reason():
    f = mx.compile(lambda x, k=None: x + 1)
    f(mx.ones((2, 3)))
    f(mx.ones((2, 4)))
    f(mx.ones((2, 4), dtype=mx.int32))
    f(mx.ones((4,)))
    f(mx.ones((4,)), k="a")
    whys = [p["why"] for p in mx.explain(f, as_dict=True)]
    assert whys[0] == "first call"
    assert "dimension 1" in whys[1] and "int32" in whys[2]
    assert "float32[4]" in whys[3] and "'k'" in whys[4]
    with pytest.raises(TypeError, match="explain"):
        mx.explain(len)


def test_dot(tmp_path):
    import io

    x = mx.array([1.0, 2.0])
    y = mx.exp(x) * 2 + mx.sum(x)
    texts = {}
    for level in ("graph", "trace", "kernels"):
        out = io.StringIO()
        mx.export_to_dot(out, [y], level=level)
        texts[level] = out.getvalue()
        assert texts[level].startswith("digraph") and texts[level].count("{") >= 1
        assert texts[level].count("{") == texts[level].count("}")
    assert "exp" in texts["graph"] and "->" in texts["graph"] and "float32[2]" in texts["graph"]
    assert "cluster_0" in texts["trace"] and "kernel 0" in texts["kernels"]
    mx.export_to_dot(str(tmp_path / "g.dot"), y=y)
    assert (tmp_path / "g.dot").read_text() == texts["graph"]
    f = mx.compile(lambda x: mx.softmax(x).sum())
    f(mx.ones((4, 5)))
    out = io.StringIO()
    mx.export_to_dot(out, f)
    assert "kernel 0" in out.getvalue() and "result" in out.getvalue()
    with pytest.raises(ValueError, match="level"):
        mx.export_to_dot(out, y, level="x")
    with pytest.raises(OSError):
        mx.export_to_dot(str(tmp_path / "no" / "g.dot"), y)
