"""Signals of an object for events that a thread reads, through a relay: ``event_monitor.py FOLDER``."""

import sys
import threading

from gi.repository import Gio, GLib, GObject

BOTH = Gio.IOStreamSpliceFlags.CLOSE_STREAM1 | Gio.IOStreamSpliceFlags.CLOSE_STREAM2


class Monitor(GObject.Object):
    """Has a signal whose detail is the kind of the event."""

    __gsignals__ = {  # noqa: RUF012 - as programs write it
        "event": (GObject.SignalFlags.RUN_LAST | GObject.SignalFlags.DETAILED, None, (str, str)),
        "ended": (GObject.SignalFlags.RUN_FIRST, None, ()),
    }

    def __init__(self, path, **properties):
        self._is_connected = False
        super().__init__(**properties)
        self.address = Gio.UnixSocketAddress(path=path)

    @GObject.Property(type=bool, default=False)
    def is_connected(self):
        return self._is_connected

    def read(self):
        """Read the events, in a thread. The signals are emitted in the loop's thread."""
        connection = Gio.SocketClient(timeout=50).connect(self.address)
        GLib.idle_add(self.change, True)
        output = connection.get_output_stream()
        output.write(b"subscribe\n")
        output.flush()
        stream = Gio.DataInputStream(base_stream=connection.get_input_stream(), close_base_stream=True)
        while True:
            line, _length = stream.read_line_utf8()
            if line is None:
                break
            kind, _, value = line.partition(">>")
            GLib.idle_add(self.emit, f"event::{kind}", kind, value)
        stream.close()
        connection.close()
        GLib.idle_add(self.change, False)
        GLib.idle_add(self.emit, "ended")

    def change(self, is_connected):
        self._is_connected = is_connected
        self.notify("is-connected")


def serve(path):
    """Start a service that answers a subscription with three events."""

    def on_run(_service, connection, _source):
        stream = Gio.DataInputStream.new(connection.get_input_stream())
        request = stream.read_line(None)
        answer = f"workspace>>2\nwindow>>{request[0].decode()}\nworkspace>>é\n".encode()
        connection.get_output_stream().write_all(answer, None)
        connection.close(None)
        return True

    service = Gio.ThreadedSocketService(max_threads=2)
    service.add_address(Gio.UnixSocketAddress.new(path), Gio.SocketType.STREAM, Gio.SocketProtocol.DEFAULT, None)
    service.connect("run", on_run)
    return service


def relay(path, target, log):
    """Start a service that connects each client with *target*."""

    def on_spliced(_connection, result):
        log.append(Gio.IOStream.splice_finish(result))

    def on_connected(client, result, connection):
        other = client.connect_finish(result)
        connection.splice_async(other, BOTH, GLib.PRIORITY_DEFAULT, None, on_spliced)

    def on_incoming(_service, connection, _source):
        address = Gio.UnixSocketAddress.new(target)
        Gio.SocketClient.new().connect_async(address, None, on_connected, connection)

    service = Gio.SocketService()
    print(service.add_address(Gio.UnixSocketAddress.new(path), Gio.SocketType.STREAM, 0, None)[0])
    service.connect("incoming", on_incoming)
    return service


def main(folder):
    """Monitor the events behind the relay."""
    loop = GLib.MainLoop()
    log = []
    services = [serve(folder + "/events"), relay(folder + "/relay", folder + "/events", log)]
    monitor = Monitor(folder + "/relay")
    print([each.name for each in Monitor.list_properties()])
    monitor.connect("event::workspace", lambda _monitor, _kind, value: print("workspace", value))
    monitor.connect("event", lambda _monitor, kind, value, word: print(word, kind, value), "event")
    monitor.connect("notify::is-connected", lambda each, spec: print(spec.name, each.props.is_connected))
    monitor.connect("ended", lambda _monitor: loop.quit())
    thread = threading.Thread(target=monitor.read)
    thread.start()
    loop.run()
    thread.join()
    context = GLib.MainContext.default()
    while not log:
        context.iteration(True)
    print("spliced:", log)
    for service in services:
        service.stop()
        service.close()


main(sys.argv[1])
