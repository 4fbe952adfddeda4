"""A pytest plugin: leaves out the tests whose id has a backslash.

mutmut collects the tests of a process twice, and runs by their ids those that reach a mutant. An id
that was made by `ids=repr` is escaped once more each time, so that it is not found again; and a run
that does not find a test fails, as if it had noticed the mutant.
"""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if "\\" in item.nodeid]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if "\\" not in item.nodeid]
