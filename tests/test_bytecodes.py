"""No form of an operation costs more bytecodes, Python frames, system calls or objects than is recorded for it."""

from __future__ import annotations

import os
import sys
import warnings
from functools import cache
from importlib.util import find_spec

import costs
import pytest

FORMS = costs.forms()
RECORDED = costs.recorded()

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the figures are Linux's"),
    pytest.mark.skipif(not RECORDED, reason=f"costs.json has no figures of {costs.INTERPRETER}: {costs.COMMAND}"),
    pytest.mark.skipif(
        costs.tracer_in_the_way() is not None or "COVERAGE_PROCESS_CONFIG" in os.environ,
        reason=f"bytecodes can not be counted beside {costs.tracer_in_the_way() or 'coverage'}",
    ),
]

traced = cache(costs.traced)
straced = cache(costs.straced)


def counted(name):
    """Return what the form *name* costs, with what this machine and interpreter can count."""
    group = FORMS[name].group
    if group != "plain" and find_spec(group) is None:
        pytest.skip(f"{group} is not installed")
    found = costs.Count() if costs.PYPY else traced(group)[name]()
    if group != costs.UNSTEADY and costs.can_strace():
        calls = straced(group)[name]()
        found = found._replace(calls=calls.calls, names=calls.names)
    if all(figure is None for figure in found.figures):
        pytest.skip("strace does not work here" if group != costs.UNSTEADY else f"{group}'s system calls vary")
    return found


def compared(name, found):
    """Return the name of each figure that the form *name* has, what is recorded, and what was *found*."""
    rows = zip(costs.FIGURES, RECORDED[name], found.figures)
    return [row for row in rows if row[1] is not None and row[2] is not None]


@pytest.mark.parametrize("name", FORMS)
def test_no_form_costs_more_than_recorded(name):
    """What costs more fails; the message tells how to record it, where that is meant."""
    found = counted(name)
    assert name in RECORDED, f"{name} was never recorded: {costs.COMMAND}"
    more = [f"{now} {figure}, recorded {then}" for figure, then, now in compared(name, found) if now > then]
    assert not more, f"{name} costs more: {'; '.join(more)}; if that is meant: {costs.COMMAND}; {dict(found.names)}"


@pytest.mark.filterwarnings("default:cheaper than recorded")
def test_what_costs_less_is_to_be_recorded():
    """What has become cheaper passes, and a warning says so: unrecorded, it could become dearer again unseen."""
    cheaper = []
    for name in RECORDED.keys() & FORMS.keys():
        try:
            if any(now < then for _, then, now in compared(name, counted(name))):
                cheaper.append(name)
        except (pytest.skip.Exception, costs.DifferingRoundsError):
            continue
    if cheaper:
        warnings.warn(f"cheaper than recorded, so {costs.COMMAND}: {', '.join(sorted(cheaper))}", stacklevel=1)


def test_nothing_is_recorded_that_is_gone():
    """A form that was renamed or removed leaves no figures behind."""
    assert RECORDED.keys() <= FORMS.keys(), f"{costs.COMMAND} with each interpreter"
