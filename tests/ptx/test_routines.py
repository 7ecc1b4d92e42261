"""The routines for GPUs, kept as PTX text: assembled by ptxas for every device that they are for."""

import os
import re

import pytest
from test_ptx import PTXAS, ROOT, assemble_all

pytestmark = pytest.mark.skipif(PTXAS is None, reason="FERRULE_PTXAS does not name a ptxas")
DEVICES = ["75", "80", "90", "100"]


def texts():
    """name, text"""
    with open(os.path.join(ROOT, "src", "device", "cuda", "routines_ptx.h")) as file:
        header = file.read()
    for name, lines in re.findall(r'\{"(\w+)",\n(.*?)\n\},', header, re.S):
        yield name, "".join(line[1:-3] + "\n" for line in lines.splitlines()).replace('\\"', '"')


def test_routines_assemble(tmp_path):
    known = [d for d in DEVICES if not assemble_all([(empty(tmp_path), d)])]
    assert "80" in known and "90" in known
    files = []
    for name, text in texts():
        target = re.search(r"\.target sm_(\w+)", text)[1]
        path = tmp_path / (name + ".ptx")
        path.write_text(text)
        own = target.endswith("a")
        devices = [target] if own else [d for d in known if int(d) >= int(target)]
        files += [(str(path), d) for d in devices]
    assert len(files) > 60
    assert assemble_all(files) == []


def empty(folder):
    """Of no entries: whether ptxas knows a device."""
    path = folder / "empty.ptx"
    path.write_text(".version 7.0\n.target sm_70\n.address_size 64\n")
    return str(path)
