"""The routines for GPUs, kept as PTX text: assembled by ptxas for every device that they are for."""

import base64
import os
import re
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_ptx import PTXAS, ROOT

pytestmark = pytest.mark.skipif(PTXAS is None, reason="FERRULE_PTXAS does not name a ptxas")
DEVICES = ["75", "80", "90", "100"]


def texts():
    """name, text"""
    with open(os.path.join(ROOT, "src", "device", "cuda", "routines_ptx.h")) as file:
        header = file.read()
    for name, bytes, lines in re.findall(r'\{"(\w+)", (\d+),\n(.*?)\n\},', header, re.S):
        packed = base64.b64decode("".join(line[1:-1] for line in lines.splitlines()))
        text = zlib.decompress(packed).decode()
        assert len(text) == int(bytes)
        yield name, text


def assemble(path, sm):
    """What ptxas complains about, "" if nothing. Without optimizing, which takes minutes."""
    command = [PTXAS, "-O0", f"-arch=sm_{sm}", "-o", os.devnull, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"{path} for sm_{sm}: {done.stdout}{done.stderr}"


def test_routines_assemble(tmp_path):
    nothing = tmp_path / "nothing.ptx"
    nothing.write_text(".version 7.0\n.target sm_70\n.address_size 64\n")
    known = [d for d in DEVICES if not assemble(nothing, d)]
    assert "80" in known and "90" in known
    files = []
    for name, text in texts():
        target = re.search(r"\.target sm_(\w+)", text)[1]
        path = tmp_path / (name + ".ptx")
        path.write_text(text)
        devices = [target] if target == "90a" else [d for d in known if int(d) >= int(target)]
        files += [(path, d) for d in devices]
    assert len(files) > 60
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints = pool.map(lambda file: assemble(*file), files)
    assert [text for text in complaints if text] == []
