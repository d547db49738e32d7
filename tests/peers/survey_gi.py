"""
Describe what PyGObject has under the names of a JSON object on stdin, ``{"Gio": ["Socket", ...], ...}``, as JSON.

A program of its own, which needs PyGObject. `survey_ours` describes the same names of this library, in the same form.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
import warnings

from gi.repository import GObject

PLAIN = {"gboolean": "bool", "gchararray": "str", "gint": "int", "guint": "int", "gint64": "int", "guint64": "int"}


def parameters_of(function):
    """Return the parameters, each ``[name, whether it has a default]``; None if nothing says what they are."""
    if isinstance(function, types.FunctionType):
        found = list(inspect.signature(function, follow_wrapped=False).parameters.values())
        if [each.kind for each in found] in ([2, 4], [0, 2, 4]):
            return None
        return [[each.name, each.default is not each.empty or each.kind in (2, 4)] for each in found]
    text = function.__doc__ or ""
    if "(" not in text or not hasattr(function, "get_arguments"):
        return None
    inside = text[text.index("(") + 1 : text.rindex(")", 0, text.index(" -> ") if " -> " in text else None)]
    found = [each.strip() for each in inside.split(", ")] if inside else []
    return [[each.partition(":")[0].partition("=")[0], "=" in each] for each in found]


def described_function(function, raw):
    """Return a function's parameters without the instance, and whether it needs one."""
    if isinstance(raw, (staticmethod, classmethod)):
        found = parameters_of(raw.__func__)
        skipped = isinstance(raw, classmethod)
    else:
        found = parameters_of(function)
        skipped = isinstance(raw, types.FunctionType) or (found is not None and [*found, [""]][0][0] == "self")
    instance = not isinstance(raw, (staticmethod, classmethod)) and (
        skipped or isinstance(raw, (types.MethodDescriptorType, types.WrapperDescriptorType))
    )
    return {"instance": instance, "parameters": found[1:] if skipped and found is not None else found}


def type_name(gtype):
    """Return a type's name as Python's users write it."""
    return PLAIN.get(gtype.name, gtype.name)


def plain(value):
    """Return a value as JSON can hold it."""
    if isinstance(value, (bool, str, type(None))):
        return value
    return int(value) if isinstance(value, int) else float(value) if isinstance(value, float) else "object"


def own_members(cls):
    """Return the public attributes that the class, or PyGObject's own of the same name, adds to its base classes."""
    name = cls.__name__
    above = [each for each in cls.__mro__ if each.__name__ != name and each.__module__ != "gi.repository.GObject"]
    inherited = {each for base in above[:1] for each in dir(base)}
    own = {each for base in cls.__mro__ if base.__name__ == name for each in base.__dict__}
    return [each for each in dir(cls) if not each.startswith("_") and (each not in inherited or each in own)]


def properties_of(cls):
    """Return the properties: type, default, and letters for readable, writable, construct and construct-only."""
    found = {}
    for spec in cls.list_properties():
        default = plain(spec.default_value) if hasattr(spec, "default_value") else None
        access = "".join(letter for bit, letter in enumerate("rwco") if int(spec.flags) & 1 << bit)
        found[spec.name] = [type_name(spec.value_type), default, access]
    return found


def signals_of(cls):
    """Return the signals: the types of the values, that of the result, when it runs, and whether it has details."""
    found = {}
    for base in cls.__mro__:
        if hasattr(base, "__gtype__") and issubclass(base, GObject.Object):
            for number in GObject.signal_list_ids(base):
                query = GObject.signal_query(number)
                kinds = [type_name(each) for each in query.param_types]
                flags = int(query.signal_flags) & 0x17
                found[query.signal_name] = [kinds, type_name(query.return_type), flags]
    return found


def names_of(member):
    """Return the value of a member of an enumeration, and its names."""
    names = ("value_name", "value_nick", "value_names", "value_nicks", "first_value_name", "first_value_nick")
    return [int(member), *(getattr(member, each) for each in names if hasattr(member, each))]


def described(value):
    """Return the description of what has a name."""
    if not isinstance(value, type):
        return {"parameters": parameters_of(value)} if callable(value) else {"value": plain(value)}
    if issubclass(value, (GObject.GEnum, GObject.GFlags)):
        return {"values": {name: names_of(each) for name, each in vars(value).items() if isinstance(each, value)}}
    members = {}
    for name in own_members(value):
        found = getattr(value, name)
        is_function = callable(found) and not isinstance(found, type)
        members[name] = described_function(found, inspect.getattr_static(value, name)) if is_function else None
    result = {"bases": [each.__name__ for each in value.__mro__], "members": members}
    if issubclass(value, GObject.Object):
        result["abstract"] = value.__gtype__.is_abstract()
        result["properties"], result["signals"] = properties_of(value), signals_of(value)
    return result


def main():
    """Describe all."""
    warnings.simplefilter("ignore")
    found = {}
    for library, names in json.load(sys.stdin).items():
        module = getattr(__import__(f"gi.repository.{library}").repository, library)
        found[library] = {name: described(getattr(module, name)) for name in names if hasattr(module, name)}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
