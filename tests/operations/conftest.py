"""Fixtures of the tests by operation."""

from __future__ import annotations

import pytest


@pytest.fixture
def operation(request):
    """A row of the table, made anew: see `table.each_operation`."""
    with request.param() as made:
        yield made
