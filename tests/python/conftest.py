"""What the tests share: those that are about the CPU are skipped where a GPU is the default device.

    FERRULE_DEVICE=gpu pytest tests/python      everything else, on the GPU

`@pytest.mark.cpu_only("why")`, or `pytestmark = pytest.mark.cpu_only("why")` for a file, marks them. A
test of values takes the same tolerances on both, or multiplies them by the fixture `looser`.
"""

import os

import pytest

ON_GPU = os.environ.get("FERRULE_DEVICE", "").strip().lower() == "gpu"
if ON_GPU:
    # Products in TF32 are right to three digits: what is compared here is float32.
    os.environ.setdefault("FERRULE_TF32", "0")


def pytest_configure(config):
    config.addinivalue_line("markers", "cpu_only(why): not with FERRULE_DEVICE=gpu")


def pytest_collection_modifyitems(items):
    for item in items:
        mark = item.get_closest_marker("cpu_only")
        if mark and ON_GPU:
            item.add_marker(pytest.mark.skip(reason=f"on the CPU only: {mark.args[0]}"))


@pytest.fixture
def looser():
    """Sums of products combine in another order on a GPU."""
    return 4 if ON_GPU else 1
