"""What the tests of MainContext and MainLoop share."""

from __future__ import annotations

from unixconn import PRIORITY_DEFAULT, MainContext, Source


def attach(function, *data, context=None, priority=PRIORITY_DEFAULT):
    """Have *function* called in *context* until it returns a false value."""
    source = Source()
    source.set_callback(lambda _: function(*data))
    source.set_priority(priority)
    source.attach(context)
    return source


def spin(condition, context=None):
    """Iterate until *condition* holds."""
    context = context or MainContext.default()
    while not condition():
        context.iteration(True)


def drain(context=None):
    """Iterate while there is anything ready; give how often."""
    context = context or MainContext.default()
    count = 0
    while context.iteration(False):
        count += 1
    return count
