"""c_api.py - builds c_calls.c or c_step.c against libferrule (built here or installed) and runs it."""

import glob
import json
import os
import subprocess

from peers import FOLDER

ROOT = os.path.dirname(FOLDER)


def flags():
    """Compiler flags that find the library: the tree's build folder, else pkg-config."""
    build = os.environ.get("FERRULE_BUILD") or os.path.join(ROOT, "build", "release")
    libraries = glob.glob(os.path.join(build, "**", "libferrule.so"), recursive=True)
    if libraries:
        # ops.h and sugar.h are made from the table of operations, in the build folder.
        made = glob.glob(os.path.join(build, "**", "ferrule", "ops.h"), recursive=True)
        headers = [os.path.join(ROOT, "include")]
        headers += [os.path.dirname(os.path.dirname(path)) for path in made]
        folder = os.path.dirname(libraries[0])
        include = [f"-I{path}" for path in headers]
        return [*include, f"-L{folder}", f"-Wl,-rpath,{folder}", "-lferrule"]
    try:
        asked = ["pkg-config", "--cflags", "--libs", "ferrule"]
        return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return None


def build(folder, name="c_calls"):
    """The path of the built program, or None and why not."""
    found = flags()
    if not found:
        return None, "libferrule is neither built in build/release nor installed"
    program = os.path.join(folder, name)
    compiler = os.environ.get("CC", "cc").split()
    command = [*compiler, "-std=c17", "-O2", os.path.join(FOLDER, name + ".c"), "-o", program]
    done = subprocess.run([*command, *found, "-lm"], capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        return None, (lines or done.stderr.splitlines() or ["the compiler failed"])[0]
    return program, None


def run(program, env, *arguments):
    done = subprocess.run([program, *arguments], env=env, capture_output=True, text=True)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"error": (done.stderr.splitlines() or [f"status {done.returncode}"])[-1]}
