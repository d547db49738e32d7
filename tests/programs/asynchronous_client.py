"""A client that runs several operations and cancels some of them: ``asynchronous_client.py FOLDER``."""

import os
import sys

from gi.repository import Gio, GLib, GObject


class Server:
    """Sends nothing until `answer` or `speak` is called."""

    def __init__(self, path):
        self.connections = []
        self.answered = None
        self.service = Gio.SocketService()
        self.service.add_address(
            Gio.UnixSocketAddress.new(path), Gio.SocketType.STREAM, Gio.SocketProtocol.DEFAULT, None
        )
        self.service.connect("incoming", self.on_incoming)

    def on_incoming(self, service, connection, source_object):
        self.connections.append(connection)
        return True

    def answer(self):
        if not self.connections:
            return GLib.SOURCE_CONTINUE
        self.connections[0].send_credentials_async(None, self.on_answered)
        return GLib.SOURCE_REMOVE

    def on_answered(self, connection, result):
        # Printed at the end: either this callback or the client's may come first.
        self.answered = connection.send_credentials_finish(result)

    def speak(self):
        self.connections[0].get_output_stream().write_all(b"a word", None)
        return GLib.SOURCE_REMOVE


class Client:
    """Does one step after the other. The callback of a step starts the next one."""

    def __init__(self, path, server, loop):
        self.path = path
        self.server = server
        self.loop = loop

    def start(self):
        client = Gio.SocketClient.new()
        GObject.Object.connect(client, "event", self.on_event)
        client.connect_async(Gio.UnixSocketAddress.new(self.path + ".missing"), None, self.on_missing)
        print("client: started")
        return False

    def on_event(self, client, event, connectable, connection):
        if event in (Gio.SocketClientEvent.CONNECTING, Gio.SocketClientEvent.COMPLETE):
            print("client: event", int(event), connection is not None)

    def on_missing(self, client, result):
        try:
            client.connect_finish(result)
        except GLib.Error as error:
            print("client:", error.code == Gio.IOErrorEnum.NOT_FOUND, error.message)
        client.connect_async(Gio.UnixSocketAddress.new(self.path), Gio.Cancellable(), self.on_connected, "data")

    def on_connected(self, client, result, data):
        self.connection = client.connect_finish(result)
        print("client: connected", data, isinstance(self.connection, Gio.UnixConnection))
        cancellable = Gio.Cancellable.new()
        cancellable.connect(lambda *_: print("client: gives up"))
        GObject.Object.connect(cancellable, "cancelled", lambda each, word: print(word, each.is_cancelled()), "client:")
        self.connection.receive_credentials_async(cancellable, self.on_given_up, cancellable)
        GLib.timeout_add(50, cancellable.cancel)

    def on_given_up(self, connection, result, cancellable):
        try:
            connection.receive_credentials_finish(result)
        except GLib.Error as error:
            print("client:", error.matches(Gio.io_error_quark(), Gio.IOErrorEnum.CANCELLED), error.message)
        # The cancelled operation has consumed nothing: the next one gets the answer.
        never = GLib.timeout_add(60000, self.loop.quit)
        GLib.timeout_add(20, self.server.answer)
        cancellable.reset()
        connection.receive_credentials_async(cancellable, self.on_credentials, never)

    def on_credentials(self, connection, result, never):
        credentials = connection.receive_credentials_finish(result)
        print("client: from", "this process" if credentials.get_unix_pid() == os.getpid() else "nobody")
        print("client: result", isinstance(result, Gio.AsyncResult), result.get_source_object() is connection)
        GLib.source_remove(never)
        already = Gio.Cancellable()
        already.cancel()
        stream = connection.get_input_stream()
        stream.read_bytes_async(10, GLib.PRIORITY_DEFAULT, already, self.on_read, False)
        print("client: pending", stream.has_pending())

    def on_read(self, stream, result, expected):
        try:
            print("client: read", expected, stream.read_bytes_finish(result).get_data())
        except GLib.Error as error:
            print("client: read", expected, error.message)
        if not expected:
            stream.read_bytes_async(10, GLib.PRIORITY_DEFAULT, None, self.on_read, True)
            GLib.idle_add(self.server.speak)
            return
        self.connection.close_async(GLib.PRIORITY_DEFAULT, None, self.on_closed)
        print("client: pending", self.connection.has_pending())

    def on_closed(self, connection, result):
        print("client: closed", connection.close_finish(result), connection.is_closed())
        connection.send_credentials_async(None, self.on_too_late)

    def on_too_late(self, connection, result):
        try:
            connection.send_credentials_finish(result)
        except GLib.Error as error:
            print("client:", error.code, error.message)
        ticks = []

        def tick():
            ticks.append(len(ticks))
            if len(ticks) < 3:
                return GLib.SOURCE_CONTINUE
            print("client: ticks", ticks)
            self.loop.quit()
            return GLib.SOURCE_REMOVE

        GLib.timeout_add(5, tick)


def main(folder):
    """Run the client's steps and the server in one main loop."""
    path = folder + "/quiet"
    loop = GLib.MainLoop.new(None, False)
    server = Server(path)
    client = Client(path, server, loop)
    GLib.idle_add(client.start)
    loop.run()
    print("running:", loop.is_running(), server.answered)
    context = GLib.MainContext.default()
    while context.iteration(False):
        pass
    server.service.stop()
    server.service.close()


main(sys.argv[1])
