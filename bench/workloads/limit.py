"""The limit: a copy by all threads, with memcpy and with non-temporal stores."""

import ctypes
import os
import subprocess
import tempfile

VERSION = "copy.c"
SOURCE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "copy.c")
THREADS = len(os.sched_getaffinity(0))
VARIANTS = {"memcpy": 0, "streaming": 1}


def build():
    with tempfile.TemporaryDirectory() as folder:
        built = os.path.join(folder, "copy.so")
        compiler = os.environ.get("CC", "cc").split()
        flags = ["-std=c17", "-O2", "-shared", "-fPIC", "-pthread"]
        subprocess.run(compiler + flags + [SOURCE, "-o", built], check=True)
        return ctypes.CDLL(built)


library = build()
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
