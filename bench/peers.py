"""peers.py - the processes that a benchmark measures: one worker.py a library, asked in turn.

Only one of them runs at a time: the others are stopped (SIGSTOP), so that a pool that spins
while it waits costs nobody else anything. Turns of all of them are interleaved round by round, so
that what the machine does meanwhile falls on everybody.
"""

import json
import os
import select
import signal
import statistics
import subprocess
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
WORKER = os.path.join(FOLDER, "worker.py")
PATIENCE = 900  # seconds for one answer

# glibc gives large blocks back at each free, and the next result is mapped page by page anew:
# most of a large jax.jit call is that. With these it keeps them, in huge pages.
TUNED = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
}
CACHE_VARIABLES = ("FERRULE_CACHE_DIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TMPDIR")

# key -> library, module whose import is timed, environment
PEERS = {
    "ferrule": ("ferrule", "ferrule.core", {}),
    "mlx": ("mlx", "mlx.core", {}),
    "jax": ("jax", "jax.numpy", {"JAX_PLATFORMS": "cpu"}),
    "jax tuned": ("jax", "jax.numpy", {"JAX_PLATFORMS": "cpu", **TUNED}),
    "torch": ("torch", "torch", {}),
    "numpy": ("numpy", "numpy", {}),
}

TITLES = {
    ("ferrule", "compile"): "ferrule compile",
    ("ferrule", "lazy"): "ferrule lazy",
    ("mlx", "compile"): "mlx compile",
    ("mlx", "eager"): "mlx eager",
    ("jax", "compile"): "jax.jit",
    ("jax tuned", "compile"): "jax.jit tuned",
    ("torch", "compile"): "torch.compile",
    ("torch", "eager"): "torch eager",
    ("torch", "built in"): "torch built in",
    ("numpy", "eager"): "numpy",
}


def environment(threads, ours, extra=None):
    """What a worker sees: the caller's, less what would bend a timing, and how many threads."""
    result = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    if not ours:
        result.pop("PYTHONPATH", None)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "FERRULE_NUM_THREADS"):
        result[name] = str(threads)
    result.update(extra or {})
    return result


def cache_environment(folder, persistent):
    """Every cache of compiled code in this folder; jax's, off by default, if persistent."""
    result = {name: os.path.join(folder, name.lower()) for name in CACHE_VARIABLES}
    for path in result.values():
        os.makedirs(path, mode=0o700, exist_ok=True)
    if persistent:
        result["JAX_COMPILATION_CACHE_DIR"] = os.path.join(folder, "jax")
        result["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        result["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    return result


class Peer:
    """A running worker. `ask` continues it, waits for its answer and stops it again."""

    def __init__(self, key, library, python, env, worker=WORKER):
        self.key = key
        self.env = env
        self.python = python
        self.process = subprocess.Popen(
            [python, worker, "serve", library],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("FERRULE_BENCH_VERBOSE") else subprocess.DEVNULL,
        )
        self.dead = None
        answer = self.ask(do="hello")
        self.version = answer.get("version", "?")
        self.variants = answer.get("variants", [])
        self.missing = answer.get("missing") or answer.get("error")

    def ask(self, **request):
        if self.dead:
            return {"error": self.dead}
        try:
            self.process.send_signal(signal.SIGCONT)
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
                raise OSError(f"no answer to {request['do']} in {PATIENCE} s")
            line = self.process.stdout.readline()
            if not line:
                raise OSError(f"ended during {request['do']}, status {self.process.wait()}")
            self.process.send_signal(signal.SIGSTOP)
        except OSError as error:
            self.dead = str(error)
            self.close()
            return {"error": self.dead}
        return json.loads(line)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except OSError:
                pass


def once(python, env, *arguments):
    """One answer of a worker of its own: first, peak or import."""
    try:
        done = subprocess.run(
            [python, WORKER, *arguments],
            env=env,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        lines = done.stdout.splitlines()
        if done.returncode != 0 or not lines:
            reason = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            return {"error": reason[-1]}
        return json.loads(lines[-1])
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return {"error": str(error).splitlines()[0]}


def summary(times):
    return {
        "median": statistics.median(times),
        "min": min(times),
        "max": max(times),
        "count": len(times),
    }


def interleave(loaded, rounds, seconds):
    """Turns of each (peer, variant), round by round, the order turning too. Gives summaries."""
    times = {pair: [] for pair in loaded}
    failed = {}
    for number in range(rounds):
        pairs = list(loaded)
        shift = number % max(1, len(pairs))
        for pair in pairs[shift:] + pairs[:shift]:
            peer, variant = pair
            # A call of several seconds is not made seven times over.
            if pair in failed or (number >= 3 and times[pair] and min(times[pair]) > 1.5):
                continue
            answer = peer.ask(do="turn", variant=variant, seconds=seconds)
            if "error" in answer:
                failed[pair] = answer["error"]
            else:
                times[pair] += answer["times"]
    result = {pair: summary(t) for pair, t in times.items() if t and pair not in failed}
    return result, failed


def say(text):
    print(text, file=sys.stderr, flush=True)
