"""A control socket that takes a command a line, and its client: ``line_control.py FOLDER``."""

import sys

from gi.repository import Gio, GLib


class Control:
    """Answers each line by a line."""

    def __init__(self, path, loop):
        self.loop = loop
        self.values = {}
        self.service = Gio.SocketService.new()
        self.service.add_address(
            Gio.UnixSocketAddress.new(path), Gio.SocketType.STREAM, Gio.SocketProtocol.DEFAULT, None
        )
        self.service.connect("incoming", self.on_incoming)

    def on_incoming(self, _service, connection, _source):
        stream = Gio.DataInputStream.new(connection.get_input_stream())
        stream.set_newline_type(Gio.DataStreamNewlineType.LF)
        stream.read_line_async(GLib.PRIORITY_DEFAULT, None, self.on_line, connection)
        return True

    def on_line(self, stream, result, connection):
        line, length = stream.read_line_finish_utf8(result)
        if line is None:
            print("control: the client has gone")
            connection.close(None)
            self.loop.quit()
            return
        print("control:", length, line)
        word, _, rest = line.partition(" ")
        if word == "set":
            key, _, value = rest.partition("=")
            self.values[key] = value
            answer = "ok"
        else:
            answer = self.values.get(rest, "unknown")
        connection.get_output_stream().write_all(f"{answer}\n".encode(), None)
        stream.read_line_async(GLib.PRIORITY_DEFAULT, None, self.on_line, connection)


class Client:
    """Sends commands, one after the other."""

    def __init__(self, path, commands):
        self.commands = commands
        self.connection = Gio.SocketClient.new().connect(Gio.UnixSocketAddress.new(path), None)
        self.stream = Gio.DataInputStream.new(self.connection.get_input_stream())

    def step(self):
        if not self.commands:
            self.connection.close(None)
            return False
        command = self.commands.pop(0)
        self.connection.get_output_stream().write_all(f"{command}\n".encode(), None)
        self.stream.read_line_async(GLib.PRIORITY_DEFAULT, None, self.on_answer, command)
        return False

    def on_answer(self, stream, result, command):
        line, length = stream.read_line_finish_utf8(result)
        print("client:", command, "->", line, length)
        GLib.idle_add(self.step)


def main(folder):
    """Run it all in *folder*."""
    path = folder + "/socket"
    loop = GLib.MainLoop()
    control = Control(path, loop)
    client = Client(path, ["set a=1", "get a", "get b", "set a=two words", "get a"])
    GLib.idle_add(client.step)
    loop.run()
    control.service.stop()
    control.service.close()
    print("values:", control.values)


main(sys.argv[1])
