"""Imports go one way: each subpackage imports from those below it, and no two modules import each other."""

from __future__ import annotations

import ast
import graphlib
import textwrap
from pathlib import Path

import pytest

import unixconn

PACKAGE = Path(unixconn.__file__).parent
WINGS = ("_base", "_kernel", "_io", "_gio", "__init__", "anyio", "asyncio", "systemd", "gi", "_cli", "__main__")
"""From the bottom up. A module that is no subpackage's stands for itself."""
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
    if not path.stem.startswith("_abi")
}
"""The source of each module, by its name within the package."""


class _Imports(ast.NodeVisitor):
    """Collects what a module imports, apart for what only type checkers see."""

    def __init__(self) -> None:
        self.at_run_time: set[tuple[str, str]] = set()
        self.for_types: set[tuple[str, str]] = set()
        self.by_name: list[str] = []
        self._found = self.at_run_time

    def visit_If(self, node: ast.If) -> None:
        """Take the block below TYPE_CHECKING for types."""
        is_for_types = ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        before, self._found = self._found, self.for_types if is_for_types else self._found
        for each in node.body:
            self.visit(each)
        self._found = before
        for each in node.orelse:
            self.visit(each)

    def visit_Import(self, node: ast.Import) -> None:
        """Take ``import a.b``."""
        self._found.update((each.name, "") for each in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Take ``from a import b``."""
        assert not node.level, "a relative import"
        self._found.update((node.module or "", each.name) for each in node.names)

    def visit_Call(self, node: ast.Call) -> None:
        """Take ``defer(globals(), "a.b", ...)`` and ``load("a.b", ...)``, which import a module later."""
        if isinstance(node.func, ast.Name) and node.func.id in ("defer", "load", "_load"):
            names = [each.value for each in node.args if isinstance(each, ast.Constant)]
            self._found.update((f"unixconn.{each}", "") for each in names[:1])
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        """Take what can import a module whose name is only known at run time."""
        if node.id in ("__import__", "import_module", "importlib"):
            self.by_name.append(node.id)


def imports_of(source: str) -> _Imports:
    """Read the imports of a module, also those inside functions."""
    found = _Imports()
    found.visit(ast.parse(source))
    return found


def module_of(source: str, name: str, modules: dict[str, str]) -> str | None:
    """Return the module of the package that ``from source import name`` takes, None for one of another package."""
    if source.split(".", maxsplit=1)[0] != "unixconn":
        return None
    inside = source.partition(".")[2]
    for each in (f"{inside}.{name}".strip("."), inside or "__init__", f"{inside}.__init__"):
        if each in modules:
            return each
    # The subpackage's own __init__ has a docstring alone, and the generated modules are loaded by name.
    raise AssertionError(f"from {source} import {name}: there is no such module")


def graph(modules: dict[str, str], *, types: bool) -> dict[str, set[str]]:
    """Return the modules of the package that each of *modules* imports."""
    made = {}
    for module, source in modules.items():
        found = imports_of(source)
        pairs = found.at_run_time | (found.for_types if types else set())
        made[module] = {each for each in (module_of(*pair, modules) for pair in pairs) if each} - {module}
    return made


def wing_of(module: str) -> str:
    """Return the subpackage of a module."""
    return module.split(".", maxsplit=1)[0]


def upward(modules: dict[str, str]) -> list[str]:
    """Return the imports that run against the order of the subpackages."""
    return [
        f"{module} imports {each}"
        for module, below in graph(modules, types=True).items()
        for each in sorted(below)
        if WINGS.index(wing_of(each)) > WINGS.index(wing_of(module))
    ]


def circle(modules: dict[str, str], *, types: bool) -> list[str]:
    """Return the modules of a circle of imports, none if there is no circle."""
    try:
        graphlib.TopologicalSorter(graph(modules, types=types)).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_no_import_runs_up():
    """_base < _kernel < _io < _gio < __init__ < _cli < __main__, also for types and inside of functions."""
    assert upward(MODULES) == []


def test_no_circle():
    """No two modules import each other, directly or by others, also not inside of functions."""
    assert circle(MODULES, types=False) == []


def test_circles_for_types_stay_inside_gio():
    """A Socket makes a SocketConnection, which has a Socket: only in _gio may types refer to each other."""
    others = {name: source for name, source in MODULES.items() if wing_of(name) != "_gio"}
    stubs = dict.fromkeys((name for name in MODULES if wing_of(name) == "_gio"), "")
    assert circle({**others, **stubs}, types=True) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("_base.errors", "from unixconn._gio.socket import Socket"),
        ("_kernel.handle", "def f():\n    from unixconn._io import operation"),
        ("_io.operation", "if TYPE_CHECKING:\n    from unixconn._gio.cancellable import Cancellable"),
        ("_gio.socket", "import unixconn"),
    ],
)
def test_a_mistake_is_found(module, source):
    """An import that runs up is found wherever it stands."""
    assert upward({**MODULES, module: MODULES[module] + "\n" + source}) != []


def test_a_mistaken_circle_is_found():
    """So is a cycle within one subpackage, even if a function's import closes it."""
    source = textwrap.dedent(
        """
        def later():
            from unixconn._kernel import handle
        """
    )
    assert circle({**MODULES, "_kernel.descriptors": MODULES["_kernel.descriptors"] + source}, types=False) != []


def test_the_folder_has_nothing_but_wings():
    """Beside the subpackages there are the package itself, its entry point, public doors, and generated modules."""
    stems = {path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("_abi")}
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert stems == {"__init__", "__main__", "anyio", "asyncio", "gi", "systemd"}
    assert folders == {each for each in WINGS if each not in stems}


def test_one_module_imports_the_layers():
    """Only native names the generated modules; only deferred imports by name, what it is asked for."""
    loaders = {module for module, source in MODULES.items() if imports_of(source).by_name}
    assert loaders == {"_base.deferred", "_kernel.native"}
    namers = {
        module
        for module, source in MODULES.items()
        if any(layer in ast.dump(ast.parse(source)) for layer in ("unixconn._ab", "unixconn._api", "_cffi_backend"))
    }
    assert namers == {"_kernel.native"}
    assert set(unixconn._HOMES.values()) <= set(MODULES)


def test_few_modules_call_the_c_library():
    """The names ffi and lib are imported in the kernel's subpackage, and handed on by none but native."""
    users = set()
    for module, source in MODULES.items():
        found = imports_of(source)
        for origin, name in found.at_run_time | found.for_types:
            if origin.split(".")[0] == "unixconn" and name in ("ffi", "lib", "*"):
                assert origin == "unixconn._kernel.native", f"{module} takes {name} from {origin}"
                users.add(module)
    assert "_kernel.control_messages" in users
    # info tries the kernel's features on plain sockets, and takes only their numbers.
    assert {module for module in users if wing_of(module) != "_kernel"} <= {"_cli.info"}
    names = [
        node.attr
        for node in ast.walk(ast.parse(MODULES["_cli.info"]))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "lib"
    ]
    assert names == [name for name in names if name.isupper()]
