"""A service of a class with properties and signals of its own, made by keywords: ``command_service.py FOLDER``."""

import sys
import threading

from gi.repository import Gio, GLib, GObject

CONSTRUCT = GObject.ParamFlags.READWRITE | GObject.ParamFlags.CONSTRUCT


class Audit(GObject.Object):
    """Counts what it hears of. Nobody but the handlers keeps it."""

    prefix = GObject.Property(type=str, default="audit", nick="Prefix", blurb="What each line begins with")

    def __init__(self, **properties):
        super().__init__(**properties)
        self.count = 0

    def hear(self, command, *data):
        self.count += 1
        print(self.prefix, self.count, command, *data)


class CommandService(Gio.SocketService):
    """Takes a command a line; a handler may refuse it."""

    __gsignals__ = {  # noqa: RUF012 - as programs write it
        "command": (GObject.SignalFlags.RUN_LAST, bool, (str,), GObject.signal_accumulator_true_handled),
        "served": (GObject.SignalFlags.RUN_FIRST, None, (int,)),
    }
    greeting = GObject.Property(type=str, default="hello")
    limit = GObject.Property(type=int, default=3, minimum=1, maximum=9, flags=CONSTRUCT)
    total = GObject.Property(type=int, default=0)

    def do_incoming(self, connection, _source):
        lines = Gio.DataInputStream(base_stream=connection.get_input_stream())
        answers = Gio.DataOutputStream(base_stream=connection.get_output_stream())
        answers.put_string(f"{self.greeting}\n")
        lines.read_line_async(GLib.PRIORITY_DEFAULT, None, self.on_line, connection, answers, 0)
        return True

    def on_line(self, lines, result, connection, answers, count):
        command, _length = lines.read_line_finish_utf8(result)
        if command is None or count == self.limit:
            self.total += count
            connection.close()
            self.emit("served", count)
            return
        answers.put_string("yes\n" if self.emit("command", command) else "no\n")
        lines.read_line_async(GLib.PRIORITY_DEFAULT, None, self.on_line, connection, answers, count + 1)

    def do_command(self, command):
        return command.startswith("get ")

    def do_served(self, count):
        print("served", count, "of", self.total)


class Client(Gio.SocketClient):
    """Sends commands, and prints the answers, in a thread of its own."""

    words = GObject.Property(type=object)
    path = GObject.Property(type=str)

    def run(self):
        connection = self.connect(Gio.UnixSocketAddress.new(self.path), None)
        lines = Gio.DataInputStream.new(connection.get_input_stream())
        print("client got", lines.read_line_utf8()[0])
        for word in self.words:
            connection.get_output_stream().write_all(f"{word}\n".encode())
            print(word, "->", lines.read_line_utf8()[0])
        connection.close()


def main(folder):
    """Serve two clients, one after the other."""
    loop = GLib.MainLoop()
    service = CommandService(greeting="welcome", limit=5, listen_backlog=4)
    print([spec.name for spec in CommandService.props][-3:], CommandService.props.limit.default_value)
    print(GObject.SignalFlags.RUN_LAST.value_nicks, CONSTRUCT.value_names, Audit.props.prefix.nick)
    path = f"{folder}/commands"
    service.add_address(Gio.UnixSocketAddress.new(path), Gio.SocketType.STREAM, Gio.SocketProtocol.DEFAULT, None)
    service.connect_object("command", Audit.hear, Audit(prefix="heard"), "by the first")
    service.connect_object_after("served", Audit.hear, Audit(prefix="after"))
    service.connect("command", lambda _, command: command == "please")
    service.connect("notify::total", lambda each, _: print("total", each.total))
    service.connect("served", lambda *_: loop.quit())
    for words in (["get this", "set that", "please"], ["get more"]):
        client = Client(timeout=9, words=words, path=path)
        thread = threading.Thread(target=client.run)
        thread.start()
        loop.run()
        thread.join()
    service.stop()
    service.close()
    print(service.props.total, service.is_active(), service.get_properties("greeting", "limit"))


if __name__ == "__main__":
    main(sys.argv[1])
