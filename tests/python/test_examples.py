"""The Python examples, run as a user would; and MLX's programs on compile, as its page has them."""

import io
import os
import pathlib
import re
import subprocess
import sys
from contextlib import redirect_stdout
from xml.etree import ElementTree

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "python"
ARGUMENTS = {"basics": [], "gelu": ["2", "10", "64"], "layer_norm": ["40", "300"]}


def run(name):
    """What an example prints, as lines. It must print nothing else and end well."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / (name + ".py")), *ARGUMENTS[name]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=300,
        env={**os.environ, "FERRULE_DEBUG": "0"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


# Programs that train: few steps compiled and not, which must tell the same.
TRAINING = {
    "training": [],
    "digits": ["mlp", "--epochs", "5"],
    "transformer": ["--steps", "50"],
    "vae": ["--epochs", "5"],
    "gcn": ["--steps", "50"],
    "flow": ["--steps", "100"],
}


def test_every_example_is_run():
    here = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    assert sorted([*ARGUMENTS, *TRAINING, "progress"]) == here
    for name in here:
        assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 120, name


def points_of_curve(path):
    """The picture is well formed, and its line stays inside."""
    lines = ElementTree.parse(path).getroot().findall("{http://www.w3.org/2000/svg}polyline")
    points = [tuple(map(float, p.split(","))) for p in lines[0].get("points").split()]
    assert all(50 <= x <= 460 and 20 <= y <= 260 for x, y in points)
    assert points[-1][0] == 460
    path.unlink()
    return points


def told(arguments, folder):
    """The losses and accuracies that a program prints. It leaves a learning curve in the folder."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / arguments[0]), *arguments[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=300,
        cwd=folder,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = re.findall(r"(?:loss|accuracy[a-z ]*|array\() ?([0-9.]+)", done.stdout)
    assert found, done.stdout
    assert re.search(r"^step +\d+  loss [0-9.-]+  \d+ steps/s$", done.stdout, re.MULTILINE)
    points_of_curve(folder / arguments[0].replace(".py", ".svg"))
    return [float(x) for x in found]


@pytest.mark.parametrize("name", TRAINING)
def test_training_compiled_and_not(name, tmp_path):
    arguments = [f"{name}.py", *TRAINING[name]]
    compiled, plain = told(arguments, tmp_path), told([*arguments, "--uncompiled"], tmp_path)
    assert compiled == pytest.approx(plain, rel=0.02)


@pytest.mark.parametrize("model, epochs", [("mlp", "40"), ("cnn", "12")])
def test_digits_are_learned(model, epochs, tmp_path):
    assert told(["digits.py", model, "--epochs", epochs], tmp_path)[-1] > 0.97


def test_basics():
    assert run("basics") == [
        "array(2.36788, dtype=float32)",
        "array(2.36788, dtype=float32)",
        "traced again: 0",
        "traced for another shape: 1",
    ]


def test_gelu():
    lines = run("gelu")
    assert len(lines) == 3
    for line in lines[:2]:
        assert re.fullmatch(r"Time per iteration \d+\.\d{3} \(ms\)", line)
    assert lines[2] == "same as nn.gelu: True"


def test_layer_norm():
    lines = run("layer_norm")
    assert lines[:3] == ["lazily: 1 kernel(s)", "compiled: 1 kernel(s)", "same result: True"]
    assert float(lines[3].rpartition(" ")[2]) < 1e-3
    low, high = map(float, re.fullmatch(r"deviations: (\S+) to (\S+)", lines[4]).groups())
    assert 0.999 < low <= high < 1.001
    assert re.fullmatch(r"Time per call \d+\.\d{3} \(ms\)", lines[5])


# ---- from C ----------------------------------------------------------------------------------

PROGRAMS = ROOT / "build" / "release" / "examples"
C_TRAINING = {
    "linear": [],
    "digits": [ROOT / "examples" / "data" / "digits.npz", "20"],
    "transformer": [ROOT / "docs" / "design.md", "50"],
}
needs_programs = pytest.mark.skipif(not PROGRAMS.exists(), reason="the C examples are not built")


def test_c_examples_are_short():
    for path in (ROOT / "examples" / "c").iterdir():
        assert len(path.read_text().splitlines()) < 120, path.name


def told_by_c(name, folder, compiled=True):
    environment = {**os.environ, "FERRULE_DISABLE_COMPILE": "1"}
    if compiled:
        del environment["FERRULE_DISABLE_COMPILE"]
    files = [] if name == "linear" else [folder / "curve.svg", folder / "weights.safetensors"]
    done = subprocess.run(
        list(map(str, [PROGRAMS / name, *C_TRAINING[name], *files])),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        timeout=300,
        env=environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if files:
        points_of_curve(files[0])
    return [float(x) for x in re.findall(r"(?:loss|accuracy) ([0-9.]+)", done.stdout)]


@needs_programs
@pytest.mark.parametrize("name", C_TRAINING)
def test_c_training_compiled_and_not(name, tmp_path):
    compiled, plain = told_by_c(name, tmp_path), told_by_c(name, tmp_path, compiled=False)
    assert compiled == pytest.approx(plain, rel=0.02) and len(compiled) > 1
    if name == "digits":
        assert compiled[-1] > 0.95
    else:
        assert compiled[-1] < compiled[0]


@needs_programs
def test_python_loads_what_c_has_trained(tmp_path, monkeypatch):
    """The transformer from C, in the Python example's module: the same names, the same loss."""
    import ferrule.core as mx

    told = told_by_c("transformer", tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import transformer

    model = transformer.Model(256)
    model.load_weights(str(tmp_path / "weights.safetensors"))
    text = mx.array(list(transformer.TEXT.read_bytes()))
    rows = mx.arange(0, 64 * 256, 256)[:, None] + mx.arange(transformer.CONTEXT + 1)
    windows = mx.take(text, rows)
    loss = transformer.loss_fn(model, windows[:, :-1], windows[:, 1:]).item()
    assert told[-1] - 0.5 < loss < told[-1] + 0.2


# ---- the page's programs, with the package's name replaced ----------------------------------

BASICS = """
def fun(x, y):
    return mx.exp(-x) + y

x = mx.array(1.0)
y = mx.array(2.0)

# Regular call, no compilation
# Prints: array(2.36788, dtype=float32)
print(fun(x, y))

# Compile the function
compiled_fun = mx.compile(fun)

# Prints: array(2.36788, dtype=float32)
print(compiled_fun(x, y))
"""

AGAIN = """
def fun(x, y):
    return mx.exp(-x) + y

x = mx.array(1.0)
y = mx.array(2.0)

compiled_fun = mx.compile(fun)

# Compiled here
compiled_fun(x, y)

# Not compiled again
compiled_fun(x, y)

# Not compiled again
mx.compile(fun)(x, y)
"""

LAMBDAS = """
a = mx.array(1.0)
# Don't do this, compiles lambda at each iteration
for _ in range(5):
    mx.compile(lambda x: mx.exp(mx.abs(x)))(a)
"""

GELU = """
def gelu(x):
    return x * (1 + mx.erf(x / math.sqrt(2))) / 2
"""

TIMEIT = """
import time

def timeit(fun, x):
    # warm up
    for _ in range(10):
        mx.eval(fun(x))

    tic = time.perf_counter()
    for _ in range(100):
        mx.eval(fun(x))
    toc = time.perf_counter()
    tpi = 1e3 * (toc - tic) / 100
    print(f"Time per iteration {tpi:.3f} (ms)")
"""

SPEEDUP = """
x = mx.random.uniform(shape=(32, 1000, 4096))
timeit(nn.gelu, x)
timeit(mx.compile(nn.gelu), x)
"""

IMPORTS = "import math\nimport mlx.core as mx\nimport mlx.nn as nn\n"


def run_page(*programs):
    """What they print, and their names. The one change: the package's name."""
    code = (IMPORTS + "".join(programs)).replace("mlx", "ferrule")
    names, output = {}, io.StringIO()
    with redirect_stdout(output):
        exec(compile(code, "page", "exec"), names)
    return output.getvalue().splitlines(), names


def test_page_basics():
    wanted = re.findall("# Prints: (.*)", BASICS)
    assert len(wanted) == 2
    assert run_page(BASICS)[0] == wanted


@pytest.mark.parametrize("program, traces", [(AGAIN, 1), (LAMBDAS, 5)])
def test_page_compiled_as_often_as_it_says(program, traces):
    import ferrule.core as mx

    before = mx.counters()["traces"]
    run_page(program)
    assert mx.counters()["traces"] - before == traces


def test_page_speedup():
    small = SPEEDUP.replace("(32, 1000, 4096)", "(2, 10, 64)")
    assert small != SPEEDUP
    lines, names = run_page(GELU, TIMEIT, small)
    assert len(lines) == 2
    for line in lines:
        assert re.fullmatch(r"Time per iteration \d+\.\d{3} \(ms\)", line)
    x, gelu = names["x"], names["gelu"]
    expected = [v * (1 + names["math"].erf(v / 2**0.5)) / 2 for v in x.flatten().tolist()]
    assert gelu(x).flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_the_examples_are_the_page():
    """What an example takes from the page stands in it unchanged, line by line."""
    for name, programs in {"basics": [BASICS], "gelu": [GELU, TIMEIT]}.items():
        lines = (EXAMPLES / (name + ".py")).read_text().splitlines()
        for program in programs:
            for line in filter(None, program.splitlines()):
                assert line.rstrip() in lines, f"{name}.py lacks: {line}"
