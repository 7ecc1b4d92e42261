"""The kernels of graphs as PTX, assembled by NVIDIA's ptxas; needs no GPU.

FERRULE_PTXAS names ptxas (.ci/run finds the one of the wheel); without it these tests are
skipped. FERRULE_BUILD names the build folder, build/release unless set.
"""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("FERRULE_BUILD", os.path.join("build", "release")))
DEVICES = ["75", "80", "90"]
PTXAS = os.environ.get("FERRULE_PTXAS")

pytestmark = pytest.mark.skipif(PTXAS is None, reason="FERRULE_PTXAS does not name a ptxas")


def assemble(path, sm):
    """What ptxas complains about, "" if nothing."""
    command = [PTXAS, f"-arch=sm_{sm}", "-o", os.devnull, path]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"{os.path.basename(path)}: {done.stdout}{done.stderr}"


def assemble_all(files):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints = list(pool.map(lambda file: assemble(*file), files))
    return [text for text in complaints if text]


@pytest.fixture(scope="module")
def emitted(tmp_path_factory):
    """The folder, and its manifest's lines: file, sm, graph, step, steps, entry."""
    folder = tmp_path_factory.mktemp("ptx")
    tool = os.path.join(BUILD, "tools", "ptx", "ptx")
    subprocess.run([tool, "emit", str(folder), *DEVICES], check=True)
    lines = (folder / "manifest.txt").read_text().splitlines()
    return folder, [line.split() for line in lines]


def test_every_graph_is_there_for_every_device(emitted):
    _, lines = emitted
    graphs = {line[2] for line in lines}
    assert {"gelu_f32", "gelu_bf16", "softmax_f32", "layer_norm_f32", "column_sum_f32"} <= graphs
    for graph in graphs:
        steps = {int(line[4]) for line in lines if line[2] == graph}
        assert len(steps) == 1, graph
        expected = {(sm, str(step)) for sm in DEVICES for step in range(max(steps))}
        assert {(line[1], line[3]) for line in lines if line[2] == graph} == expected


def test_fusion_is_the_cpus(emitted):
    steps = {line[2]: int(line[4]) for line in emitted[1]}
    for graph in ["gelu_f32", "gelu_bf16", "softmax_f32", "layer_norm_f32"]:
        assert steps[graph] == 1, graph
    assert steps["column_sum_f32"] == 2  # sums of pieces of the rows, and their sum


def test_text(emitted):
    folder, lines = emitted
    for file, sm, _, _, _, entry in lines:
        text = (folder / file).read_text()
        assert f".target sm_{sm}\n" in text, file
        assert text.count(f".visible .entry {entry}(") == 1, file
        assert "call" not in text and ".func" not in text, file  # all mathematics is our own


def test_ptxas_takes_every_kernel(emitted):
    folder, lines = emitted
    assert assemble_all([(str(folder / line[0]), line[1]) for line in lines]) == []


def test_ptxas_takes_the_kernels_of_the_emitters_tests(tmp_path):
    """Every kind of instruction, as tests/c/test_emit.c writes them."""
    program = os.path.join(BUILD, "tests", "test_emit")
    env = {**os.environ, "FERRULE_PTX_DIR": str(tmp_path)}
    subprocess.run([program], env=env, check=True, stdout=subprocess.DEVNULL)
    files = [(str(path), path.name.split("_")[-1][:-4]) for path in sorted(tmp_path.iterdir())]
    assert {sm for _, sm in files} == set(DEVICES)
    assert assemble_all(files) == []


def test_ptxas_would_complain(emitted, tmp_path):
    """So that a ptxas that takes anything does not pass for one."""
    folder, lines = emitted
    broken = tmp_path / "broken.ptx"
    broken.write_text((folder / lines[0][0]).read_text().replace("ret;", "return;"))
    assert assemble(str(broken), lines[0][1])


@pytest.mark.skipif(
    not (os.environ.get("FERRULE_CLANG") or shutil.which("clang-19")), reason="no clang-19"
)
def test_routines_are_what_their_source_gives():
    command = [os.path.join(ROOT, "tools", "routines"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
