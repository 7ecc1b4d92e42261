"""Files: npy, npz and safetensors against numpy, and files that are damaged, cut off or lying."""

import io
import json
import os
import random
import resource
import struct
import threading
import zipfile

import ferrule.core as mx
import ferrule.nn as nn
import numpy as np
import pytest
from ferrule.utils import tree_flatten

DTYPES = (
    "bool_ uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64 complex64"
).split()
SHAPES = [(), (0,), (3,), (2, 0, 4), (5, 7), (2, 3, 4)]


def values(dtype, shape):
    a = np.arange(int(np.prod(shape))).reshape(shape) % 100
    return (a - 3 if dtype.startswith(("i", "f", "c")) else a).astype(dtype)


def same(x, a):
    a = np.asarray(a)
    got = np.array(x)
    assert got.dtype == a.dtype and got.shape == a.shape and (got == a).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_reads_and_writes_the_same(tmp_path, dtype):
    arrays = {f"x{i}": values(dtype, s) for i, s in enumerate(SHAPES)}
    ours = {k: mx.array(a, dtype=getattr(mx, dtype)) for k, a in arrays.items()}
    for name, a in arrays.items():
        mx.save(tmp_path / name, ours[name])
        same(np.load(tmp_path / f"{name}.npy"), a)
        np.save(tmp_path / f"n{name}.npy", a)
        same(mx.load(tmp_path / f"n{name}.npy"), a)
    for save, theirs in ((mx.savez, np.savez), (mx.savez_compressed, np.savez_compressed)):
        save(str(tmp_path / "all"), **ours)
        with np.load(tmp_path / "all.npz") as read:
            for name, a in arrays.items():
                same(read[name], a)
        theirs(tmp_path / "theirs.npz", **arrays)
        read = mx.load(tmp_path / "theirs.npz")
        assert read.keys() == arrays.keys()
        for name, a in arrays.items():
            same(read[name], a)
    mx.save_safetensors(str(tmp_path / "all"), ours, {"a": 'b"\\\n', "é": "€😀"})
    read, metadata = mx.load(tmp_path / "all.safetensors", return_metadata=True)
    assert metadata == {"a": 'b"\\\n', "é": "€😀"} and read.keys() == arrays.keys()
    for name, a in arrays.items():
        same(read[name], a)


def test_layouts(tmp_path):
    a = np.arange(24, dtype=np.float32).reshape(4, 6)
    np.save(tmp_path / "f.npy", np.asfortranarray(a))
    same(mx.load(tmp_path / "f.npy"), a)
    for order in (">i4", ">f8", ">u2", ">c8"):
        np.save(tmp_path / "b.npy", np.arange(5).astype(order))
        same(mx.load(tmp_path / "b.npy"), np.arange(5).astype(order[1:]))
    x = mx.array(a)
    for view in (x.T, x[::-1, ::2], mx.broadcast_to(x[0], (3, 6)), x[1:, 3]):
        mx.save(tmp_path / "v.npy", view)
        same(np.load(tmp_path / "v.npy"), np.array(view))
        mx.save_safetensors(tmp_path / "v", {"v": view})
        same(mx.load(tmp_path / "v.safetensors")["v"], np.array(view))


def test_bfloat16(tmp_path):
    x = mx.array([1.5, -2.0, 3e38], dtype=mx.bfloat16)
    mx.save(tmp_path / "x", x)
    mx.savez(tmp_path / "x", x=x)
    mx.save_safetensors(tmp_path / "x", {"x": x})
    for read in (
        mx.load(tmp_path / "x.npy"),
        mx.load(tmp_path / "x.npz")["x"],
        mx.load(tmp_path / "x.safetensors")["x"],
    ):
        assert read.dtype == mx.bfloat16 and mx.array_equal(read, x).item()


def test_names_and_files(tmp_path):
    one, two = mx.array([1.0]), mx.array([2.0])
    mx.savez(tmp_path / "a.npz", one, two, **{"b.c/d": one})
    assert set(mx.load(str(tmp_path / "a.npz"))) == {"arr_0", "arr_1", "b.c/d"}
    buffer = io.BytesIO()
    mx.savez_compressed(buffer, x=two)
    buffer.seek(0)
    assert mx.load(buffer, format="npz")["x"].item() == 2
    buffer = io.BytesIO()
    mx.save(buffer, one)
    buffer.seek(0)
    assert mx.load(buffer).item() == 1
    with zipfile.ZipFile(tmp_path / "a.npz") as z:
        assert z.testzip() is None
    for wrong, kind in (
        (lambda: mx.savez(tmp_path / "x", one, arr_0=one), ValueError),
        (lambda: mx.save(tmp_path / "x", [1, 2]), TypeError),
        (lambda: mx.savez(tmp_path / "x", 3), TypeError),
        (lambda: mx.save_safetensors(tmp_path / "x", {"w": 3}), TypeError),
        (lambda: mx.save_safetensors(tmp_path / "x", {"w": one}, {"k": 3}), ValueError),
        (lambda: mx.save_safetensors(tmp_path / "x", {3: one}), ValueError),
        (lambda: mx.save_safetensors(tmp_path / "x", {"__metadata__": one}), ValueError),
        (lambda: mx.load(tmp_path / "nothing.npy"), OSError),
        (lambda: mx.load(tmp_path / "a.npz", format="npy"), ValueError),
        (lambda: mx.load(tmp_path / "a.npz", format="foo"), ValueError),
        (lambda: mx.load(tmp_path / "a.npz", return_metadata=True), ValueError),
        (lambda: mx.save(tmp_path / "no" / "where", one), OSError),
    ):
        with pytest.raises(kind):
            wrong()
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_what_is_there_stays_where_saving_fails(tmp_path):
    path = tmp_path / "x.npz"
    mx.savez(path, x=mx.array([1.0]))
    before = path.read_bytes()

    class Full(Exception):
        pass

    class File:
        def write(self, data):
            raise Full

    with pytest.raises(Full):
        mx.savez(File(), x=mx.array([1.0]))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))  # as a full disk: a part is written
    try:
        with pytest.raises(OSError):
            mx.savez(path, x=mx.zeros(10000))
        with pytest.raises(OSError):
            nn.Linear(100, 100).save_weights(str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with pytest.raises(ValueError):
        mx.save_safetensors(path, {"x": mx.array([1.0])}, {"k": 1})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_what_takes_a_part_is_given_the_rest(tmp_path):
    x = mx.arange(10000)

    class Slow(io.BytesIO):
        def write(self, data):
            return super().write(data[:1000])

    class Stuck(io.BytesIO):
        def write(self, data):
            return 0

    class Silent(list):
        def write(self, data):
            self.append(data)

    for save in (lambda f: mx.save(f, x), lambda f: mx.savez_compressed(f, x=x)):
        whole, slow, silent = io.BytesIO(), Slow(), Silent()
        for file in (whole, slow, silent):
            save(file)
        assert whole.getvalue() == slow.getvalue() == b"".join(silent)
        with pytest.raises(OSError, match="took 0 of"):
            save(Stuck())
    with open(tmp_path / "raw", "wb", buffering=0) as f:
        mx.save(f, x)
    same(mx.load(tmp_path / "raw"), np.arange(10000, dtype=np.int32))


def test_links_modes_and_neighbours_stay(tmp_path):
    (tmp_path / "there").mkdir()
    path, link = tmp_path / "there" / "x.npy", tmp_path / "x.npy"
    link.symlink_to(path)
    neighbour = tmp_path / "there" / "x.npy.new0"
    neighbour.write_text("mine")
    mx.save(link, mx.array([1.0]))
    path.chmod(0o600)
    mx.save(link, mx.array([2.0]))
    assert link.is_symlink() and path.stat().st_mode & 0o777 == 0o600
    assert mx.load(path).item() == 2 and neighbour.read_text() == "mine"
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.npy", "x.npy.new0"]
    mx.save(str(tmp_path / "é").encode(), mx.array([3.0]))
    assert mx.load(tmp_path / "é.npy").item() == 3
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(OSError):
        mx.save(tmp_path / "folder", mx.array([1.0]))
    assert not list((tmp_path / "folder.npy").iterdir()) and len(list(tmp_path.iterdir())) == 4


def test_threads_save_to_one_path(tmp_path):
    """Each writes a file of its own; the last to be whole stays."""
    path = tmp_path / "x.npy"

    def run(i):
        for _ in range(20):
            mx.save(path, mx.full((1000,), i))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    x = np.array(mx.load(path))
    assert (x == x[0]).all() and list(tmp_path.iterdir()) == [path]


def test_weights_of_models(tmp_path):
    def make():
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Conv1d(4, 2, 3))

    model = make()
    for ending in ("npz", "safetensors"):
        path = str(tmp_path / f"w.{ending}")
        model.save_weights(path)
        other = make()
        assert other.load_weights(path) is other
        for (name, x), (_, y) in zip(
            tree_flatten(model.parameters()), tree_flatten(other.parameters())
        ):
            assert mx.array_equal(x, y).item(), name
    with pytest.raises(ValueError, match="not in model"):
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4)).load_weights(path)


def examples():
    x, y = mx.array(np.arange(40, dtype=np.float32).reshape(5, 8)), mx.array([1, 2, 3])
    for save in (
        lambda f: mx.save(f, x),
        lambda f: mx.savez(f, x=x, y=y),
        lambda f: mx.savez_compressed(f, x=x, y=y),
        lambda f: mx.save_safetensors(f, {"x": x, "y": y}, {"key": "value"}),
    ):
        buffer = io.BytesIO()
        save(buffer)
        yield buffer.getvalue()


EXAMPLES = list(examples())


def attempt(data):
    """Loads or raises; nothing else, and no more memory than the file warrants."""
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    try:
        mx.load(io.BytesIO(data))
    except (ValueError, TypeError, UnicodeDecodeError):
        return False
    finally:
        assert mx.get_peak_memory() - before <= 1100 * len(data) + 65536
    return True


@pytest.mark.parametrize("which", range(len(EXAMPLES)))
def test_every_truncation_is_an_error(which):
    data = EXAMPLES[which]
    assert attempt(data)
    for n in range(len(data)):
        assert not attempt(data[:n]), n


@pytest.mark.parametrize("which", range(len(EXAMPLES)))
def test_damage(which):
    rng = random.Random(which)
    for _ in range(3000):
        data = bytearray(EXAMPLES[which])
        for _ in range(rng.choice((1, 1, 2, 8))):
            i = rng.randrange(min(len(data), 250) if rng.random() < 0.6 else len(data))
            data[i] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256), data[i] ^ 1))
        if rng.random() < 0.2:
            i = rng.randrange(len(data))
            del data[i : i + rng.randrange(40)]
        attempt(bytes(data))


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def test_lying_safetensors():
    good = safetensors({"x": entry()}, bytes(8))
    assert (
        attempt(good)
        and attempt(safetensors({}))
        and attempt(
            safetensors(b'{"x":{"data_offsets":[0,0],"shape":[0,99999999999],"dtype":"I8"} }  ')
        )
    )
    for header, data in (
        ({"x": entry(shape=(2**40, 2**40))}, bytes(8)),
        ({"x": entry(shape=(2**62,), offsets=(0, 2**64 - 1))}, bytes(8)),
        ({"x": entry(offsets=(8, 0))}, bytes(8)),
        ({"x": entry(offsets=(4, 12))}, bytes(8)),
        ({"x": entry(shape=(-2,))}, bytes(8)),
        ({"x": entry(shape=(2.0,))}, bytes(8)),
        ({"x": entry(dtype="F8_E4M3")}, bytes(8)),
        ({"x": entry(dtype=3)}, bytes(8)),
        ({"x": entry(more=1)}, bytes(8)),
        ({"x": entry(dtype="BOOL", offsets=(0, 2))}, b"\1\2"),
        ({"x": {"dtype": "F32"}}, bytes(8)),
        ({f"x{i}": entry() for i in range(2)}, bytes(8)),  # one region given out twice
        ({"x": [1]}, bytes(8)),
        ({"__metadata__": {"a": 1}}, b""),
        ({"x": entry(shape=[1] * 40 + [2])}, bytes(8)),
        (b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}', bytes(8)),
        (b'{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}}', bytes(8)),
        (b'{"a\\u0000b":' + json.dumps(entry()).encode() + b"}", bytes(8)),
        (b'{"a\\ud800":' + json.dumps(entry()).encode() + b"}", bytes(8)),
        (b'{"x":' * 100_000, b""),
        (b'{"x":{"shape":' + b"[" * 100_000, b""),
        (
            b"{"
            + b'"x":'
            + json.dumps(entry()).encode()
            + b',"x":'
            + json.dumps(entry(offsets=(8, 16))).encode()
            + b"}",
            bytes(16),
        ),
    ):
        assert not attempt(safetensors(header, data)), header
    assert not attempt(struct.pack("<Q", 2**63) + b"{}") and not attempt(b"") and not attempt(b"{")


def npy(header, data=b""):
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def test_lying_npy():
    line = "{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }"
    assert attempt(npy(line % ("<f4", "False", "2,"), bytes(8)))
    for code, order, shape in (
        ("<f4", "False", "3,"),
        ("<f4", "False", "4611686018427387904, 4611686018427387904"),
        ("<f4", "False", "99999999999999999999999"),
        ("<f4", "False", "-1"),
        ("<f4", "True", "2, 2"),
        ("|O", "False", "1,"),
        ("<c16", "False", "0,"),
        ("<f4", "False", "1, " * 40),
        ("<M8[ns]", "False", "1,"),
        ("|b1", "False", "8,"),  # 8 bytes of 2
    ):
        data = b"\2" * 8 if code == "|b1" else bytes(8)
        assert not attempt(npy(line % (code, order, shape), data)), (code, order, shape)
    assert not attempt(
        npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", bytes(8))
    )
    assert not attempt(npy("{}", bytes(8)))


def test_zip_bombs_and_lies():
    head = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }" % 2**33)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("x.npy", head)
    assert not attempt(buffer.getvalue())
    data = bytearray(EXAMPLES[2])
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFF0)  # the size when unpacked
    assert not attempt(bytes(data))
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", zipfile.ZIP_BZIP2) as z:
        z.writestr("x.npy", EXAMPLES[0])
    assert not attempt(buffer.getvalue())
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as z:
        z.writestr("x.txt", b"no array")
    assert not attempt(buffer.getvalue())
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as z:
        for name in ("x.npy", "y.npy", "x"):
            z.writestr(name, EXAMPLES[0])
    with pytest.raises(ValueError, match="named 'x'"):
        mx.load(io.BytesIO(buffer.getvalue()))
    with zipfile.ZipFile(buffer := io.BytesIO(), "w"):
        pass
    assert mx.load(io.BytesIO(buffer.getvalue())) == {}
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as z:
        z.comment = b"PK\x05\x06 a comment that looks like an end"
        with z.open("x.npy", "w", force_zip64=True) as f:
            f.write(EXAMPLES[0])
    assert mx.load(io.BytesIO(buffer.getvalue()))["x"].shape == (5, 8)


def test_more_arrays_than_16_bits_count():
    x = mx.array([1, 2], dtype=mx.int8)
    mx.savez(buffer := io.BytesIO(), **{str(i): x for i in range(0x10001)})
    with zipfile.ZipFile(buffer) as z:
        assert len(z.namelist()) == 0x10001
        same(np.load(io.BytesIO(z.read("65536.npy"))), x)
    read = mx.load(io.BytesIO(buffer.getvalue()))
    assert len(read) == 0x10001
    same(read["65536"], x)


@pytest.mark.skipif("FERRULE_TEST_LARGE" not in os.environ, reason="takes 15 GB and a minute")
@pytest.mark.parametrize("save", [mx.save, mx.savez, mx.savez_compressed, mx.save_safetensors])
def test_arrays_beyond_4_gib(save, tmp_path):
    x = mx.zeros((2**32 + 5,), dtype=mx.uint8).at[-1].add(3)
    y = mx.array([1.0, 2.0])
    mx.eval(x)
    path = tmp_path / "x"
    if save is mx.save:
        save(path, x)
        read = {"x": mx.load(tmp_path / "x.npy")}
        assert np.load(tmp_path / "x.npy", mmap_mode="r")[-1] == 3
    elif save is mx.save_safetensors:
        save(path, {"x": x, "y": y})
        read = mx.load(tmp_path / "x.safetensors")
    else:
        save(path, x=x, y=y)
        read = mx.load(tmp_path / "x.npz")
        with zipfile.ZipFile(tmp_path / "x.npz") as z:
            assert z.getinfo("x.npy").file_size == x.size + 128
            same(np.load(io.BytesIO(z.read("y.npy"))), y)
    assert read["x"].shape == x.shape and read["x"][-1].item() == 3
    if "y" in read:
        same(read["y"], np.array(y))
