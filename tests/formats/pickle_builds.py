"""Each test of the pickle machine runs on both of its builds: import `both_builds` into the test module."""

import pytest

from weighbridge.formats import pickle_build, pickle_machine, pickle_trace


@pytest.fixture(autouse=True, scope="module", params=["pure", "compiled"])
def both_builds(request):
    if request.param == "compiled" and not pickle_build.compiled():
        pytest.skip(f"the machine is {pickle_build.chosen()[1]}")
    used = pickle_machine if request.param == "pure" else pickle_build.machine()
    before = pickle_trace.machine
    pickle_trace.machine = lambda: used
    yield request.param
    pickle_trace.machine = before
