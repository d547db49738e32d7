"""A client of messages in JSON, a line each, that connects again when its server goes: ``json_client.py FOLDER``."""

import json
import sys
from pathlib import Path

from gi.repository import Gio, GLib, GObject


class Server:
    """Answers each request, and goes away after two of them."""

    def __init__(self, path):
        self.path = path
        self.service = None
        self.answered = 0

    def start(self):
        Path(self.path).unlink(missing_ok=True)
        self.service = Gio.SocketService.new()
        address = Gio.UnixSocketAddress.new(self.path)
        self.service.add_address(address, Gio.SocketType.STREAM, Gio.SocketProtocol.DEFAULT, None)
        self.service.connect("incoming", self.on_incoming)
        print("server: listens")
        return GLib.SOURCE_REMOVE

    def stop(self):
        self.service.stop()
        self.service.close()
        self.service = None

    def on_incoming(self, _service, connection, _source):
        stream = Gio.DataInputStream.new(connection.get_input_stream())
        stream.read_line_async(GLib.PRIORITY_DEFAULT, None, self.on_line, connection)
        return True

    def on_line(self, stream, result, connection):
        line, _length = stream.read_line_finish_utf8(result)
        if not line:
            connection.close(None)
            return
        request = json.loads(line)
        answer = {"id": request["id"], "result": sum(request["params"])}
        connection.get_output_stream().write_all(json.dumps(answer).encode() + b"\n", None)
        self.answered += 1
        if self.answered % 2:
            stream.read_line_async(GLib.PRIORITY_DEFAULT, None, self.on_line, connection)
            return
        print("server: goes away after", self.answered)
        connection.close(None)
        self.stop()
        GLib.timeout_add(30, self.start)


class Client(GObject.Object):
    """Sends requests one after the other, each again until it is answered."""

    __gsignals__ = {  # noqa: RUF012 - as programs write it
        "connected": (GObject.SignalFlags.RUN_FIRST, None, (bool,)),
        "answered": (GObject.SignalFlags.RUN_FIRST, None, (int, object)),
    }
    is_connected = GObject.Property(type=bool, default=False)

    def __init__(self, path, requests):
        super().__init__()
        self.address = Gio.UnixSocketAddress.new(path)
        self.requests = requests
        self.number = 0
        self.delay = 5
        self.cancellable = Gio.Cancellable.new()
        self.connection = None

    def start(self):
        client = Gio.SocketClient.new()
        client.set_timeout(50)
        client.connect_async(self.address, self.cancellable, self.on_connected)
        return GLib.SOURCE_REMOVE

    def on_connected(self, client, result):
        try:
            self.connection = client.connect_finish(result)
        except GLib.Error as error:
            if error.matches(Gio.io_error_quark(), Gio.IOErrorEnum.CANCELLED):
                print("client: given up")
                return
            known = (Gio.IOErrorEnum.NOT_FOUND, Gio.IOErrorEnum.CONNECTION_REFUSED)
            assert any(error.matches(Gio.io_error_quark(), each) for each in known)
            self.again()
            return
        self.delay = 5
        self.is_connected = True
        self.emit("connected", True)
        self.stream = Gio.DataInputStream.new(self.connection.get_input_stream())
        self.send()

    def again(self):
        self.delay = min(self.delay * 2, 40)
        GLib.timeout_add(self.delay, self.start)

    def lost(self):
        self.connection.close(None)
        self.is_connected = False
        self.emit("connected", False)
        self.again()

    def send(self):
        if self.number == len(self.requests):
            self.emit("answered", -1, None)
            return
        request = {"id": self.number, "method": "sum", "params": self.requests[self.number]}
        try:
            self.connection.get_output_stream().write_all(json.dumps(request).encode() + b"\n", None)
        except GLib.Error as error:
            assert error.matches(Gio.io_error_quark(), Gio.IOErrorEnum.BROKEN_PIPE)
            self.lost()
            return
        self.stream.read_line_async(GLib.PRIORITY_DEFAULT, self.cancellable, self.on_line)

    def on_line(self, stream, result):
        try:
            line, _length = stream.read_line_finish_utf8(result)
        except GLib.Error:  # the server has gone while it had a request of ours
            line = None
        if line is None:
            self.lost()
            return
        answer = json.loads(line)
        assert answer["id"] == self.number
        self.number += 1
        self.emit("answered", answer["id"], answer["result"])
        self.send()


def main(folder):
    """Run both in one loop."""
    path = folder + "/json"
    loop = GLib.MainLoop()
    server = Server(path)
    client = Client(path, [[1, 2], [], [3, 4, 5], [10], [7, -7]])
    client.connect("connected", lambda _client, state: print("client: connected", state, client.is_connected))

    def on_answered(_client, number, value):
        print("client: answer", number, value)
        if number < 0:
            client.cancellable.cancel()
            client.start()
            GLib.timeout_add(20, loop.quit)

    client.connect("answered", on_answered)
    client.connect("notify::is-connected", lambda each, spec: print("notify:", spec.name, each.props.is_connected))
    client.start()
    GLib.timeout_add(15, server.start)
    loop.run()
    client.connection.close(None)
    while GLib.MainContext.default().iteration(False):
        pass
    server.stop()
    print("answered:", server.answered)


main(sys.argv[1])
