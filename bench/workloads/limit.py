"""The limits: a copy by all threads, with memcpy and with non-temporal stores; and multiply-adds."""

import ctypes
import os
import subprocess
import tempfile

VERSION = "copy.c"
FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
THREADS = len(os.sched_getaffinity(0))
VARIANTS = {"memcpy": 0, "streaming": 1}


def build(name, *more):
    with tempfile.TemporaryDirectory() as folder:
        built = os.path.join(folder, name + ".so")
        compiler = os.environ.get("CC", "cc").split()
        flags = ["-std=c17", "-O2", "-shared", "-fPIC", "-pthread", *more]
        source = os.path.join(FOLDER, name + ".c")
        subprocess.run(compiler + flags + [source, "-o", built], check=True)
        return ctypes.CDLL(built)


library = build("copy")
library.copy_open.restype = ctypes.c_void_p
library.copy_open.argtypes = [ctypes.c_size_t, ctypes.c_int]
library.copy_run.restype = ctypes.c_double
library.copy_run.argtypes = [ctypes.c_void_p, ctypes.c_int]
library.copy_close.restype = None
library.copy_close.argtypes = [ctypes.c_void_p]


class Copy:
    """Two arrays of so many bytes; `seconds(variant)` times a copy of one to the other."""

    def __init__(self, size):
        self.handle = library.copy_open(size, THREADS)
        if not self.handle:
            raise MemoryError("the copy found no memory or no threads")

    def seconds(self, variant):
        seconds = library.copy_run(self.handle, VARIANTS[variant])
        if seconds < 0:
            raise AssertionError("the copy came out wrong")
        return seconds

    def close(self):
        library.copy_close(self.handle)


def peak():
    """Floating-point operations a second of float32, the best of some turns."""
    own = build("peak", "-march=native", "-ffp-contract=fast")
    own.peak_run.restype = ctypes.c_double
    own.peak_run.argtypes = [ctypes.c_int]
    found = max(own.peak_run(THREADS) for _ in range(9))
    if found < 0:
        raise OSError("no threads for the multiply-adds")
    return found
