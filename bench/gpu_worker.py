"""gpu_worker.py - runs rows of bench/gpu.py in one library, in a process of its own.

    gpu_worker.py rows LIBRARY VARIANT DEVICE SIZE SECONDS ROW...
    gpu_worker.py first LIBRARY VARIANT DEVICE SIZE
    gpu_worker.py copy DEVICE BYTES...

DEVICE is gpu or cpu, SIZE full or small. A JSON line for hello, then one for each row. A time is
the wall clock around many queued calls and one wait at their end, divided by their number: the
same for every library, whatever it does on the host meanwhile.
"""

import ctypes
import json
import math
import os
import statistics
import sys
import time

from gpu_rows import ROWS, bytes_of, shape_of

REPEATS = 7
QUEUED = 12 << 30  # bytes of results under way, at most


def adam_of_lists(sqrt):
    """Adam for lists of tensors, as a function of arrays."""

    def one(p, g, m, v):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        return p - 1e-3 * m / (sqrt(v) + 1e-8), m, v

    def update(p, g, m, v):
        return tuple(list(part) for part in zip(*map(one, p, g, m, v)))

    return update


class Ferrule:
    def __init__(self, variant, device):
        import ferrule.core as mx
        from workloads import ferrule as programs

        self.mx, self.compiled = mx, variant == "compile"
        if device == "gpu":
            mx.set_default_device(mx.gpu)
        self.version = programs.VERSION
        self.programs = {
            **programs.PROGRAMS,
            "turned": lambda s: mx.tanh(s.T) + s[:, :1].T,
            "second": lambda x: x * mx.tanh(x) + mx.exp(-x * x),
        }
        self.adapter = programs.adapter(variant)
        self.random = programs.random

    def wrap(self, program):
        if self.compiled:
            return self.mx.compile(program)

        def run(*arguments):
            result = program(*arguments)
            self.mx.async_eval(result)
            return result

        return run

    def wait(self, result):
        self.mx.eval(result)
        self.mx.synchronize()

    def step(self, program, _):
        return self.wrap(program)

    def adam(self, count, size):
        mx = self.mx
        p, g = ([mx.random.normal((size,)) for _ in range(count)] for _ in "pg")
        m, v = ([mx.zeros((size,)) for _ in range(count)] for _ in "mv")
        mx.eval(p, g, m, v)
        return repeated_adam(self.wrap(adam_of_lists(mx.sqrt)), p, g, m, v)

    def attention(self, shape, dtype):
        mx = self.mx
        arrays = [mx.random.normal(shape).astype(getattr(mx, dtype)) for _ in "qkv"]
        mx.eval(arrays)
        call = self.wrap(
            lambda q, k, v: mx.fast.scaled_dot_product_attention(
                q, k, v, scale=1 / math.sqrt(shape[-1]), mask="causal"
            )
        )
        return lambda: call(*arrays), ""


class Jax:
    def __init__(self, variant, device):
        import jax
        import jax.numpy as jnp
        from workloads import jax as programs

        if device == "gpu" and jax.default_backend() != "gpu":
            raise RuntimeError(f"jax has no GPU here, its backend is {jax.default_backend()}")
        self.jax, self.jnp = jax, jnp
        self.version = programs.VERSION
        self.programs = {
            **programs.PROGRAMS,
            "turned": lambda s: jnp.tanh(s.T) + s[:, :1].T,
            "second": lambda x: x * jnp.tanh(x) + jnp.exp(-x * x),
        }
        self.adapter = programs.adapter(variant)
        self.random, self.wrap, self.wait = programs.random, jax.jit, jax.block_until_ready

    def step(self, program, state):
        return self.jax.jit(program, donate_argnums=tuple(range(state)))

    def adam(self, count, size):
        def tensors(seed):
            keys = self.jax.random.split(self.jax.random.key(seed), count)
            return [self.jax.random.normal(key, (size,)) for key in keys]

        p, g = tensors(0), tensors(1)
        m, v = ([self.jnp.zeros((size,)) for _ in range(count)] for _ in "mv")
        update = self.jax.jit(adam_of_lists(self.jnp.sqrt), donate_argnums=(0, 2, 3))
        return repeated_adam(update, p, g, m, v)

    def attention(self, shape, dtype):
        """cuDNN's where it takes the dtype, else XLA's."""
        jax = self.jax
        batch, heads, length, width = shape
        keys = jax.random.split(jax.random.key(0), 3)
        arrays = [
            jax.random.normal(key, (batch, length, heads, width), dtype=dtype) for key in keys
        ]
        for way in ("cudnn", "xla"):
            call = jax.jit(
                lambda q, k, v, way=way: jax.nn.dot_product_attention(
                    q, k, v, is_causal=True, implementation=way
                )
            )
            try:
                jax.block_until_ready(call(*arrays))
                return lambda: call(*arrays), way
            except Exception:  # which one it is depends on the release
                if way == "xla":
                    raise


class Torch:
    def __init__(self, variant, device):
        import torch
        from workloads import torch as programs

        self.torch, self.compiled = torch, variant == "compile"
        self.device = "cuda" if device == "gpu" else "cpu"
        torch.zeros(1, device=self.device)  # says why, where there is none
        torch.set_float32_matmul_precision("high")
        self.version = programs.VERSION
        self.programs = {
            **programs.PROGRAMS,
            "turned": lambda s: torch.tanh(s.T) + s[:, :1].T,
            "second": lambda x: x * torch.tanh(x) + torch.exp(-x * x),
        }
        self.adapter = self.moved(programs.adapter(variant))

    def random(self, shape):
        return self.torch.rand(shape, device=self.device)

    def wrap(self, program):
        """Without gradients; in inference mode, as elsewhere in bench/."""
        torch = self.torch
        inner = torch.compile(program, dynamic=False) if self.compiled else program

        def run(*arguments):
            with torch.inference_mode():
                return inner(*arguments)

        return run

    def wait(self, _):
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def moved(self, base):
        """The adapter of workloads/torch.py, on the device and with torch's own optimizer."""
        torch, device, compiled = self.torch, self.device, self.compiled

        class Moved(base):
            @staticmethod
            def tensor(floats, shape):
                return base.tensor(floats, shape).to(device)

            @staticmethod
            def integers(values):
                return base.integers(values).to(device)

            @staticmethod
            def adam_step(loss, parameters, x, y, rate, decay):
                parameters = [p.detach().requires_grad_() for p in parameters]
                kind = torch.optim.AdamW if decay else torch.optim.Adam
                optimizer = kind(parameters, lr=rate, weight_decay=decay, fused=True)
                if compiled:
                    loss = torch.compile(loss, dynamic=False, mode="reduce-overhead")

                def program(x, y):
                    optimizer.zero_grad(set_to_none=True)
                    value = loss(parameters, x, y)
                    value.backward()
                    optimizer.step()
                    return (value.detach(),)

                return program, [x, y], 0

        return Moved

    def step(self, program, _):
        return program

    def adam(self, count, size):
        torch = self.torch
        made = [torch.randn(size, device=self.device) for _ in range(count)]
        parameters = [p.requires_grad_() for p in made]
        for p in parameters:
            p.grad = torch.randn_like(p)
        optimizer = torch.optim.Adam(parameters, lr=1e-3, fused=True)
        return torch.compile(optimizer.step) if self.compiled else optimizer.step

    def attention(self, shape, dtype):
        torch = self.torch
        kind = getattr(torch, dtype)
        arrays = [torch.randn(shape, device=self.device, dtype=kind) for _ in "qkv"]
        attend = torch.nn.functional.scaled_dot_product_attention
        call = self.wrap(lambda q, k, v: attend(q, k, v, is_causal=True))
        return lambda: call(*arrays), ""


LIBRARIES = {"ferrule": Ferrule, "jax": Jax, "torch": Torch}


def repeated_adam(update, p, g, m, v):
    """Each call's results are the next one's arguments."""
    held = [p, m, v]

    def call():
        held[:] = update(held[0], g, held[1], held[2])
        return held

    return call


def repeated_step(program, arguments, state):
    def call():
        results = program(*arguments)
        arguments[:state] = results[:state]
        return results

    return call


def prepare(library, key, small):
    """The row's call, and what to say of it: a function that queues one call and gives results."""
    from workloads import steps

    row, shape = ROWS[key], shape_of(key, small)
    if row.kind == "array":
        x, program = library.random(shape), library.wrap(library.programs[row.program])
        return (lambda: program(x)), {"x": x}
    if row.kind == "adam":
        return library.adam(*shape), {}
    if row.kind == "attention":
        call, way = library.attention(shape, row.program)
        return call, {"way": way}
    program, arguments, state = steps.make(library.adapter)[key]()
    return repeated_step(library.step(program, state), arguments, state), {}


def wrong(row, small, facts, result):
    """None if the result is right as far as is known here."""
    from worker import check

    if row.kind != "array" or row.program == "turned":
        return None
    if row.program == "sum_all" and small:
        return None  # what is known of its sum holds for many numbers
    return check(row.program, facts["x"], result)


def measure(library, key, small, seconds):
    row = ROWS[key]
    call, facts = prepare(library, key, small)

    def timed(n):
        start = time.perf_counter()
        for _ in range(n):
            result = call()
        library.wait(result)
        return time.perf_counter() - start

    start = time.perf_counter()
    result = call()
    library.wait(result)
    answer = {"first": time.perf_counter() - start, "way": facts.get("way", "")}
    if row.kind == "step":
        answer["loss"] = float(result[-1])
    problem = wrong(row, small, facts, result)
    del result
    if problem:
        return {"error": f"wrong result: {problem}"}
    timed(3)
    most = max(1, min(20000, QUEUED // max(1, bytes_of(key, small))))
    n = 1
    while (elapsed := timed(n)) < seconds and n < most:
        n = min(most, n * 4 if elapsed < seconds / 4 else n * 2)
    repeats = REPEATS if elapsed < 5 * seconds else 3
    times = [timed(n) / n for _ in range(repeats)]
    return {**answer, "median": statistics.median(times), "least": min(times), "calls": n}


def first_calls(library, small):
    """Of gelu, then of another program, the device's context being up."""
    x = library.random(shape_of("first", small))
    library.wait(x)
    found = {}
    for name in ("gelu_erf", "second"):
        program = library.wrap(library.programs[name])
        start = time.perf_counter()
        library.wait(program(x))
        found[name] = time.perf_counter() - start
    return found


# --- the limit ---------------------------------------------------------------------------------


class Driver:
    """NVIDIA's driver through ctypes: who copies is no peer."""

    def __init__(self):
        self.cuda = ctypes.CDLL("libcuda.so.1")
        context, device = ctypes.c_void_p(), ctypes.c_int()
        self("cuInit", 0)
        self("cuDeviceGet", ctypes.byref(device), 0)
        self("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self("cuCtxSetCurrent", context)
        name = ctypes.create_string_buffer(200)
        self("cuDeviceGetName", name, 200, device)
        self.name = name.value.decode()

    def __call__(self, function, *arguments):
        status = getattr(self.cuda, function)(*arguments)
        if status:
            raise RuntimeError(f"{function}: error {status}")

    def copy(self, size):
        """Seconds of a copy of so many bytes, many queued."""
        blocks = [ctypes.c_uint64() for _ in "ab"]
        for block in blocks:
            self("cuMemAlloc_v2", ctypes.byref(block), ctypes.c_size_t(size))
            self("cuMemsetD8_v2", block, ctypes.c_ubyte(1), ctypes.c_size_t(size))
        times = []
        n = max(8, min(2000, (32 << 30) // size))
        for _ in range(REPEATS + 1):
            start = time.perf_counter()
            for _ in range(n):
                self("cuMemcpyDtoDAsync_v2", blocks[0], blocks[1], ctypes.c_size_t(size), None)
            self("cuCtxSynchronize")
            times.append((time.perf_counter() - start) / n)
        for block in blocks:
            self("cuMemFree_v2", block)
        return statistics.median(times[1:])


class Host:
    """The same on the CPU, by one thread's memmove: for trying this program out."""

    name = "the CPU"

    def copy(self, size):
        a, b = ctypes.create_string_buffer(size), ctypes.create_string_buffer(size)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            ctypes.memmove(a, b, size)
            times.append(time.perf_counter() - start)
        return statistics.median(times)


def main(what, *arguments):
    # What libraries print goes to stderr; the answers have standard output for themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(**answer):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    if what == "copy":
        machine = Driver() if arguments[0] == "gpu" else Host()
        say(name=machine.name, copies={size: machine.copy(int(size)) for size in arguments[1:]})
        return
    name, variant, device, size, *rest = arguments
    library = LIBRARIES[name](variant, device)
    if what == "first":
        say(version=library.version, **first_calls(library, size == "small"))
        return
    say(version=library.version)
    seconds, *keys = rest
    for key in keys:
        try:
            say(row=key, **measure(library, key, size == "small", float(seconds)))
        except Exception as error:  # a row that fails is an answer, too
            text = str(error).strip().splitlines() or [""]
            say(row=key, error=f"{type(error).__name__}: {text[0]}"[:300])


if __name__ == "__main__":
    main(*sys.argv[1:])
