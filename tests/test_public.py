"""The public names: what help(), type checkers, pickle and a typing mistake show of the package."""

from __future__ import annotations

import ast
import asyncio
import inspect
import pickle
import pydoc
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import unixconn
from unixconn import (
    AsyncResult,
    Cancellable,
    Error,
    Future,
    MainContext,
    Object,
    SocketClient,
    SocketListener,
    SocketService,
    SocketType,
    Task,
    ThreadedSocketService,
    TimedOutError,
    UnixConnection,
)

TREE = ast.parse(Path(unixconn.__file__).read_text(encoding="utf-8"))
OBJECTS = {name: getattr(unixconn, name) for name in unixconn.__all__}
"""All that is public."""
NAMED = {name: each for name, each in OBJECTS.items() if isinstance(each, type) or callable(each)}
"""The public classes and functions."""
CLASSES = {name: each for name, each in NAMED.items() if isinstance(each, type)}


def blocks(test: str) -> list[ast.stmt]:
    """Return the statements of the package's source that stand under ``if test``."""
    found = [node for node in TREE.body if isinstance(node, ast.If) and ast.unparse(node.test) == test]
    return [each for node in found for each in node.body]


def text_of(thing: object) -> str:
    """Return what help() shows."""
    return pydoc.plain(pydoc.render_doc(thing))


class TestNames:
    def test_type_checkers_see_the_same_names(self):
        """The imports for type checkers name each public object once, under its name, from the module that has it."""
        imports = [(node.module, each) for node in blocks("TYPE_CHECKING") for each in node.names]
        names = [each.asname for _, each in imports]
        assert sorted(names) == sorted(set(unixconn.__all__) - {"BACKEND"})
        for module, each in imports:
            assert each.name == each.asname
            assert getattr(__import__(module, fromlist=[each.name]), each.name) is OBJECTS[each.name]

    def test_all_has_no_name_twice(self):
        """The list of names has each once, and star imports take them."""
        assert len(unixconn.__all__) == len(set(unixconn.__all__))
        taken: dict[str, object] = {}
        exec("from unixconn import *", taken)
        assert {name: taken[name] for name in OBJECTS} == OBJECTS

    def test_dir_has_the_public_names(self):
        """dir() lists the public names, and no module that the package itself uses."""
        assert set(unixconn.__all__) | {"__version__", "__doc__"} <= set(dir(unixconn))
        assert [name for name in dir(unixconn) if not name.startswith("_") and name not in unixconn.__all__] == []

    def test_a_misspelt_name(self):
        """It is an AttributeError, for which Python's tracebacks suggest the right name."""
        with pytest.raises(AttributeError, match="module 'unixconn' has no attribute 'Cancelable'") as caught:
            unixconn.Cancelable  # noqa: B018 - an attribute that is not there
        assert (caught.value.name, caught.value.obj) == ("Cancelable", unixconn)
        assert not hasattr(unixconn, "no_such_name")
        with pytest.raises(ImportError, match="Cancelable"):
            exec("from unixconn import Cancelable")

    @pytest.mark.parametrize("name", ["anyio", "asyncio", "gi", "systemd"])
    def test_a_module_that_was_not_imported(self, name):
        """The error says that the program has to import it."""
        code = f"import unixconn; unixconn.{name}"
        folder = Path(unixconn.__file__).parents[1]
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, cwd=folder
        )
        assert f"no attribute '{name}': it is a module of its own, which `import unixconn.{name}` loads" in done.stderr

    @pytest.mark.parametrize("name", ["Gio.File", "Gio.bus_get_sync", "GLib.Variant", "GObject.BindingFlags"])
    def test_a_name_that_is_left_out(self, name):
        """The error says so, for programs whose import was changed, as in `unixconn.gi`."""
        with pytest.raises(AttributeError, match=f"^{name} is not part of unixconn, on purpose: see docs/mig"):
            getattr(unixconn, name.partition(".")[2])

    @pytest.mark.skipif(sys.version_info < (3, 10), reason="tracebacks suggest names from Python 3.10 on")
    def test_a_suggestion(self):
        """The traceback that Python prints has it."""
        command = [sys.executable, "-c", "import unixconn; unixconn.Cancelable"]
        folder = Path(unixconn.__file__).parents[1]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=folder)
        assert "Did you mean: 'Cancellable'?" in done.stderr

    def test_type_checkers_find_a_misspelt_name(self):
        """__getattr__ is hidden from them: it would make any name right."""
        hidden = {each.name for each in blocks("not TYPE_CHECKING") if isinstance(each, ast.FunctionDef)}
        assert "__getattr__" in hidden
        assert "__getattr__" not in {each.name for each in TREE.body if isinstance(each, ast.FunctionDef)}


class TestModules:
    @pytest.mark.parametrize("name", NAMED)
    def test_the_module_is_the_package(self, name):
        """Public objects do not name the module that they happen to be in, and pickle finds them by what they name."""
        assert NAMED[name].__module__ == "unixconn"
        assert pickle.loads(pickle.dumps(NAMED[name])) is NAMED[name]

    @pytest.mark.parametrize("name", [name for name, each in CLASSES.items() if issubclass(each, Error)])
    def test_pickled_errors(self, name):
        """A pickled Error names nothing but the package, and comes back equal."""
        error = CLASSES[name]("text", "g-io-error-quark", 24)
        pickled = pickle.dumps(error, protocol=0)
        assert b"unixconn." not in pickled
        found = pickle.loads(pickled)
        assert (type(found), str(found), found.code) == (type(error), str(error), 24)

    def test_pickled_by_code_that_does_not_ask_for_the_name(self):
        """The module is right from the definition on, not from the first use of the public name on."""
        program = (
            "import pickle, sys; from unixconn._base.errors import IOErrorEnum, io_error;"
            "sys.stdout.buffer.write(pickle.dumps(io_error(IOErrorEnum.TIMED_OUT, 'text'), 0))"
        )
        folder = Path(unixconn.__file__).parents[1]
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60, cwd=folder)
        assert b"unixconn." not in done.stdout
        assert isinstance(pickle.loads(done.stdout), TimedOutError)

    def test_pickled_result(self):
        """So does a result tuple."""
        added = unixconn.AddressAdded(True, None)
        assert pickle.loads(pickle.dumps(added)) == added


class TestHelp:
    def test_of_the_package(self):
        """help(unixconn) has every public name, and in the list of its contents private modules and the doors."""
        text = text_of(unixconn)
        for name in unixconn.__all__:
            assert re.search(rf"\b{name}\b", text), name
        contents = re.search(r"\nPACKAGE CONTENTS\n((?: +\S.*\n)+)", text)
        names = [line.split()[0] for line in contents.group(1).splitlines()]
        assert [each for each in names if not each.startswith("_")] == ["anyio", "asyncio", "gi", "systemd"]

    @pytest.mark.parametrize("name", CLASSES)
    def test_no_section_of_a_private_class(self, name):
        """Inherited methods and attributes come from public classes, and from Python's own."""
        sections = re.findall(r"inherited from (\S+):\n", text_of(CLASSES[name]))
        assert [each for each in sections if each.startswith("unixconn._")] == []

    @pytest.mark.parametrize("name", NAMED)
    def test_docstrings(self, name):
        """Each public class and function has a docstring, and each public method that a class adds."""
        assert (NAMED[name].__doc__ or "").strip(), name
        methods = (types.FunctionType, property, classmethod, staticmethod)
        for each, member in vars(NAMED[name]).items() if name in CLASSES else ():
            if not each.startswith("_") and isinstance(member, methods):
                assert (inspect.getdoc(getattr(NAMED[name], each)) or "").strip(), f"{name}.{each}"

    @pytest.mark.parametrize("field", ["connection", "source_object"])
    def test_fields_of_result_tuples(self, field):
        """The members of a result tuple are described."""
        assert "Alias for field" not in inspect.getdoc(getattr(unixconn.Accepted, field))

    @pytest.mark.parametrize(
        ("kind", "names"),
        [
            (AsyncResult, {"get_source_object", "get_user_data", "is_tagged", "legacy_propagate_error"}),
            (
                Task,
                {
                    "get_cancellable",
                    "get_check_cancellable",
                    "get_completed",
                    "get_context",
                    "get_name",
                    "get_priority",
                    "get_return_on_cancel",
                    "had_error",
                    "is_valid",
                    "new",
                    "propagate_boolean",
                    "propagate_int",
                    "propagate_pointer",
                    "propagate_value",
                    "return_boolean",
                    "return_error",
                    "return_error_if_cancelled",
                    "return_int",
                    "return_value",
                    "run_in_thread",
                    "set_check_cancellable",
                    "set_name",
                    "set_priority",
                },
            ),
            # asyncio.Future's, but for those that set the result; a coroutine's; and one that is this library's.
            (
                Future,
                {
                    "add_done_callback",
                    "cancel",
                    "cancellable",
                    "cancelled",
                    "close",
                    "cr_frame",
                    "cr_running",
                    "cr_suspended",
                    "done",
                    "exception",
                    "get_loop",
                    "remove_done_callback",
                    "result",
                    "send",
                },
            ),
            (
                Cancellable,
                {
                    "cancel",
                    "connect",
                    "disconnect",
                    "do_cancelled",
                    "get_current",
                    "get_fd",
                    "is_cancelled",
                    "make_pollfd",
                    "new",
                    "pop_current",
                    "push_current",
                    "release_fd",
                    "reset",
                    "set_error_if_cancelled",
                    "source_new",
                    "with_timeout",
                },
            ),
            (
                SocketListener,
                {
                    "accept",
                    "accept_async",
                    "accept_finish",
                    "accept_socket",
                    "accept_socket_async",
                    "accept_socket_finish",
                    "add_address",
                    "add_any_inet_port",
                    "add_inet_port",
                    "add_socket",
                    "close",
                    "do_event",
                    "new",
                    "set_backlog",
                },
            ),
            (SocketService, {"add_socket", "close", "do_incoming", "is_active", "new", "start", "stop"}),
            (ThreadedSocketService, {"do_run", "new"}),
        ],
        ids=lambda each: each.__name__ if isinstance(each, type) else "",
    )
    def test_methods(self, kind, names):
        """A class adds the methods of Gio, those that the documentation names, and none that only the library calls."""
        assert {name for name in vars(kind) if not name.startswith("_")} == names

    def test_bases(self):
        """The bases that have public names are those of Gio."""
        assert SocketListener.__mro__ == (SocketListener, Object, object)
        assert ThreadedSocketService.__mro__[:3] == (ThreadedSocketService, SocketService, SocketListener)
        assert [each for each in Task.__mro__ if each.__name__ in unixconn.__all__] == [Task, AsyncResult, Object]

    @pytest.mark.parametrize(
        "method",
        [
            getattr(each, name)
            for each in CLASSES.values()
            for name in vars(each)
            if name.endswith("_async") and not name.startswith("_")
        ],
        ids=lambda each: each.__qualname__,
    )
    def test_signatures(self, method):
        """An asynchronous method shows its parameters and its result, and says when it returns a Future."""
        signature = inspect.signature(method)
        parameters = list(signature.parameters.values())[-4:]
        assert [str(each) for each in parameters] == [
            "cancellable: 'Cancellable | None' = None",
            "callback: 'Callback' = AWAIT",
            "user_data: 'object' = NO_DATA",
            "*more: 'object'",
        ]
        assert re.fullmatch(r"Future\[.+\] \| None", signature.return_annotation)
        assert "Any" not in str(signature)
        text = " ".join(inspect.getdoc(method).split())
        assert "Without a callback argument the call returns a `Future`" in text
        assert "with callback=None it returns None, and the outcome is dropped." in text


class TestAbstract:
    def test_async_result(self):
        """An AsyncResult cannot be made, as in Gio, and the error says what makes one; a subclass can."""
        with pytest.raises(TypeError, match=r"AsyncResult is abstract and cannot be made: methods named \*_async"):
            AsyncResult()
        assert isinstance(type("Mine", (AsyncResult,), {})(), AsyncResult)


class TestReprs:
    def test_cancellable(self):
        """Its state, and the seconds that are left."""
        cancellable = Cancellable()
        assert repr(cancellable) == "<Cancellable>"
        cancellable.cancel()
        assert repr(cancellable) == "<Cancellable cancelled>"
        cancellable.reset()
        assert repr(cancellable) == "<Cancellable>"
        assert repr(Cancellable.with_timeout(0)) == "<Cancellable timed out>"
        assert re.fullmatch(r"<Cancellable \d\d\.\d{3} seconds left>", repr(Cancellable.with_timeout(99)))
        assert repr(type("Mine", (Cancellable,), {})()) == "<Mine>"

    def test_future(self, pair):
        """The operation's name, and whether it has ended."""
        name = "g_unix_connection_receive_fd_async"
        a, b = pair
        future = b.receive_fd_async()
        assert repr(future) == f"<Future {name} pending>"
        future.cancel()
        assert repr(future) == f"<Future {name} failed: g-io-error-quark: Operation was cancelled (19)>"
        sent = a.send_fd_async(0)
        assert repr(sent) == "<Future g_unix_connection_send_fd_async done>"

    def test_task(self, pair, null):
        """So for a callback's Task."""
        told: list[str] = []
        pair[0].send_fd_async(null, None, lambda _source, result: told.append(repr(result)))
        while not told:
            MainContext.default().iteration()
        assert told == ["<Task g_unix_connection_send_fd_async done>"]

    def test_listeners(self, tmp_path):
        """The number of their sockets, a service's state, and the path of a listener on a socket file."""
        assert repr(SocketListener()) == "<SocketListener 0 sockets>"
        path = tmp_path / "door"
        with unixconn.listen(path) as listener:
            assert repr(listener) == f"<UnixListener {str(path)!r}>"
        assert repr(listener) == f"<UnixListener {str(path)!r} closed>"
        service = SocketService(active=False)
        assert repr(service) == "<SocketService stopped, 0 sockets>"
        with service:
            address = unixconn.UnixSocketAddress.new(path)
            service.add_address(address, SocketType.STREAM, unixconn.SocketProtocol.DEFAULT)
            assert repr(service) == "<SocketService stopped, 1 socket>"
        assert repr(service) == "<SocketService closed>"
        assert repr(ThreadedSocketService()) == "<ThreadedSocketService active, 0 sockets>"

    def test_client(self):
        """The type of its sockets, and their timeout."""
        assert repr(SocketClient()) == "<SocketClient STREAM>"
        assert repr(SocketClient(type=SocketType.SEQPACKET, timeout=7)) == "<SocketClient SEQPACKET, timeout 7 s>"

    @pytest.mark.parametrize(
        "kind", [Cancellable, Future, SocketClient, SocketListener, SocketService, Task, unixconn.UnixListener]
    )
    def test_of_what_was_never_made(self, kind):
        """A constructor that fails leaves an object that a debugger can show."""
        empty = kind.__new__(kind)
        assert repr(empty).startswith(f"<{kind.__name__}")


class TestTypes:
    def test_a_future_takes_type_arguments(self):
        """At run time, too, as asyncio's does."""
        assert Future[int].__args__ == (int,)
        assert Future[int].__origin__ is Future
        assert unixconn.Accepted[UnixConnection].__origin__ is unixconn.Accepted

    def test_the_loop_of_a_future(self, pair):
        """get_loop() says what is wrong where there is none."""

        async def main():
            future = pair[1].receive_fd_async()
            future.cancel()
            return future.get_loop() is asyncio.get_running_loop()

        assert asyncio.run(main())
        with pytest.raises(RuntimeError, match="does not belong to an asyncio loop"):
            pair[0].send_fd_async(0).get_loop()
