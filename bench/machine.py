"""machine.py - says what a benchmark ran on: processor, cores, memory, page setting, date."""

import datetime
import os
import platform


def read(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def memory_bytes(field):
    """MemTotal or MemAvailable of /proc/meminfo in bytes; a container's limit counts."""
    size = 0
    for line in read("/proc/meminfo").splitlines():
        if line.startswith(field + ":"):
            size = int(line.split()[1]) * 1024
    limit = read("/sys/fs/cgroup/memory.max")
    if limit.isdigit():
        used = read("/sys/fs/cgroup/memory.current") if field == "MemAvailable" else ""
        size = min(size, max(0, int(limit) - int(used or 0)))
    return size


def processor():
    fields = {}
    for line in read("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    name = fields.get("model name") or platform.machine()
    flags = fields.get("flags", "").split()
    width = next((w for f, w in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if f in flags), "")
    virtual = "virtual machine" if "hypervisor" in flags else ""
    family = f"family {fields['cpu family']}" if "cpu family" in fields else ""
    return ", ".join(part for part in (name, family, width, virtual) if part)


def last_level_cache():
    sizes = [read(f"/sys/devices/system/cpu/cpu0/cache/index{i}/size") for i in range(6)]
    return next((size for size in reversed(sizes) if size), "unknown")


def huge_pages():
    text = read("/sys/kernel/mm/transparent_hugepage/enabled")
    return text.partition("[")[2].partition("]")[0] or "unknown"


def describe(threads):
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory": f"{memory_bytes('MemTotal') / 2**30:.0f} GiB",
        "last level cache": last_level_cache(),
        "transparent huge pages": huge_pages(),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "load before the run": f"{os.getloadavg()[0]:.1f}",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def use_threads(threads):
    """Confine this process and its children to so many CPUs, which libraries go by."""
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cpus)
    return len(cpus)


def fitting(shape, arrays):
    """The shape, its first dimension halved until so many float32 arrays of it fit."""
    shape = list(shape)
    rest = 4
    for size in shape[1:]:
        rest *= size
    while shape[0] > 1 and shape[0] * rest * arrays > memory_bytes("MemAvailable") * 0.8:
        shape[0] //= 2
    return tuple(shape)
