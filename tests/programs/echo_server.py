"""An echo server on SocketService, and its clients, all in one main loop: ``echo_server.py FOLDER``."""

import sys

from gi.repository import Gio, GLib

WORDS = [b"one\n", b"two\n", b"three\n"]


class EchoServer:
    """Sends back all data, on any number of connections at a time."""

    def __init__(self, path, expected):
        self.expected = expected
        self.connections = set()
        self.accepted = self.gone = self.echoed = 0
        self.service = Gio.SocketService.new()
        self.service.add_address(
            Gio.UnixSocketAddress.new(path), Gio.SocketType.STREAM, Gio.SocketProtocol.DEFAULT, None
        )
        self.service.connect("incoming", self.on_incoming, "hello")
        self.service.connect("notify::active", self.on_active)

    def on_active(self, service, pspec):
        print("server:", pspec.name, service.props.active)

    def on_incoming(self, service, connection, source_object, word):
        assert service is self.service
        assert source_object is None
        self.accepted += 1
        print("server:", word, type(connection).__name__, self.accepted)
        self.connections.add(connection)
        self.read(connection)
        return True

    def read(self, connection):
        connection.get_input_stream().read_bytes_async(1024, GLib.PRIORITY_DEFAULT, None, self.on_read, connection)

    def on_read(self, stream, result, connection):
        data = stream.read_bytes_finish(result)
        if not data.get_size():
            connection.close_async(GLib.PRIORITY_DEFAULT, None, self.on_closed)
            return
        self.echoed += data.get_size()
        connection.get_output_stream().write_all(data.get_data(), None)
        self.read(connection)

    def on_closed(self, connection, result):
        connection.close_finish(result)
        self.connections.discard(connection)
        self.gone += 1
        if self.gone == self.expected:
            print("server: the last has gone,", self.echoed, "bytes")
            self.service.stop()


class EchoClient:
    """Sends one word after the other, and waits for the echo of each."""

    def __init__(self, name, path, at_end):
        self.name = name
        self.words = iter(WORDS)
        self.heard = b""
        self.at_end = at_end
        Gio.SocketClient.new().connect_async(Gio.UnixSocketAddress.new(path), None, self.on_connected)

    def on_connected(self, client, result):
        self.connection = client.connect_finish(result)
        self.say()

    def say(self):
        word = next(self.words, None)
        if word is None:
            self.connection.close(None)
            self.at_end(self)
            return
        self.rest = len(word)
        written, size = self.connection.get_output_stream().write_all(word, None)
        assert written
        assert size == len(word)
        self.listen()

    def listen(self):
        stream = self.connection.get_input_stream()
        stream.read_bytes_async(self.rest, GLib.PRIORITY_DEFAULT, None, self.on_heard)

    def on_heard(self, stream, result):
        data = stream.read_bytes_finish(result).get_data()
        self.heard += data
        self.rest -= len(data)
        if self.rest:
            self.listen()
        else:
            self.say()


def main(folder):
    """Run the server and the clients, until the server has stopped."""
    path = folder + "/echo"
    loop = GLib.MainLoop()
    names = ("anna", "bert", "cleo")
    server = EchoServer(path, len(names))
    server.service.connect("notify::active", lambda *_: loop.quit())
    heard = {}

    def at_end(client):
        heard[client.name] = client.heard

    clients = [EchoClient(name, path, at_end) for name in names]
    loop.run()
    for client in clients:
        print(client.name, "heard", heard[client.name], client.connection.is_closed())
    print("active:", server.service.is_active())
    server.service.close()
    try:
        Gio.SocketClient.new().connect(Gio.UnixSocketAddress.new(path), None)
    except GLib.Error as error:
        print(error.matches(Gio.io_error_quark(), Gio.IOErrorEnum.CONNECTION_REFUSED), error.message)


main(sys.argv[1])
