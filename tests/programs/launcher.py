"""A launcher that runs commands, and hands the pipe of their output to who asked: ``launcher.py FOLDER``."""

import os
import sys

from gi.repository import Gio, GLib


class Launcher:
    """Takes a command a line; answers with the read end of a pipe, and later with the status."""

    def __init__(self, path, at_end):
        self.at_end = at_end
        self.service = Gio.SocketService.new()
        self.service.add_address(
            Gio.UnixSocketAddress.new(path), Gio.SocketType.STREAM, Gio.SocketProtocol.DEFAULT, None
        )
        self.service.connect("incoming", self.on_incoming)

    def on_incoming(self, _service, connection, _source):
        stream = Gio.DataInputStream(base_stream=connection.get_input_stream(), close_base_stream=False)
        stream.read_line_async(GLib.PRIORITY_DEFAULT, None, self.on_command, connection)
        return True

    def on_command(self, stream, result, connection):
        command, _length = stream.read_line_finish_utf8(result)
        if command is None:
            print("launcher: nothing more")
            connection.close(None)
            GLib.timeout_add(20, self.at_end)
            return
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.dup2(writer, 1)
            os.execlp("sh", "sh", "-c", command)
        os.close(writer)
        connection.send_fd(reader, None)
        os.close(reader)
        GLib.child_watch_add(GLib.PRIORITY_DEFAULT, pid, self.on_end, (connection, stream))

    def on_end(self, _pid, status, data):
        connection, stream = data
        output = Gio.DataOutputStream.new(connection.get_output_stream())
        output.set_close_base_stream(False)
        output.put_byte(os.WEXITSTATUS(status), None)
        output.flush(None)
        stream.read_line_async(GLib.PRIORITY_DEFAULT, None, self.on_command, connection)


class Client:
    """Runs commands one after the other, and prints what they say."""

    def __init__(self, path, commands):
        self.commands = iter(commands)
        self.connection = Gio.SocketClient.new().connect(Gio.UnixSocketAddress.new(path), None)
        self.next()

    def next(self):
        command = next(self.commands, None)
        if command is None:
            self.connection.close(None)
            return False
        self.connection.get_output_stream().write_all(f"{command}\n".encode(), None)
        fd = self.connection.get_socket().get_fd()
        GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, fd, GLib.IOCondition.IN, self.on_descriptor, command)
        return False

    def on_descriptor(self, _fd, condition, command):
        print("client:", command, condition == GLib.IOCondition.IN)
        pipe = Gio.UnixInputStream.new(self.connection.receive_fd(None), True)
        lines = Gio.DataInputStream.new(pipe)
        lines.read_line_async(GLib.PRIORITY_DEFAULT, None, self.on_line, pipe)
        return GLib.SOURCE_REMOVE

    def on_line(self, lines, result, pipe):
        line, length = lines.read_line_finish_utf8(result)
        if line is not None:
            print("client: a line:", line, length)
            lines.read_line_async(GLib.PRIORITY_DEFAULT, None, self.on_line, pipe)
            return
        lines.close(None)
        print("client: the end", pipe.is_closed(), pipe.get_close_fd())
        stream = self.connection.get_input_stream()
        stream.read_bytes_async(1, GLib.PRIORITY_DEFAULT, None, self.on_status)

    def on_status(self, stream, result):
        print("client: status", list(stream.read_bytes_finish(result).get_data()))
        GLib.idle_add(self.next)


def main(folder):
    """Run both in one loop."""
    path = folder + "/launcher"
    loop = GLib.MainLoop()
    launcher = Launcher(path, loop.quit)
    client = Client(path, ["echo one; echo two", "exit 3", "printf no-newline"])
    loop.run()
    launcher.service.stop()
    launcher.service.close()
    print("closed:", client.connection.is_closed())


main(sys.argv[1])
