"""A class with signals and properties of its own, which cuts a stream into frames: ``framer.py FOLDER``."""

import struct
import sys

from gi.repository import Gio, GLib, GObject


class Framer(GObject.Object):
    """Reads frames, each a length and as many bytes, and emits a signal for each."""

    __gsignals__ = {  # noqa: RUF012 - as programs write it
        "frame": (GObject.SignalFlags.RUN_FIRST, None, (object, int)),
        "check": (GObject.SignalFlags.RUN_LAST, bool, (int,)),
        "closed": (GObject.SignalFlags.RUN_LAST, None, ()),
    }

    limit = GObject.Property(type=int, default=64, minimum=1, maximum=1024, nick="limit", blurb="Longest frame")
    frames = GObject.Property(type=int, default=0)

    def __init__(self, connection, **properties):
        super().__init__(**properties)
        self.stream = connection.get_input_stream()
        self.data = b""

    def do_frame(self, data, number):
        print("framer: frame", number, len(data))
        self.frames = number

    def do_check(self, length):
        return length <= self.limit

    @GObject.Signal(arg_types=(str,))
    def refused(self, reason):
        print("framer: refused:", reason)

    @GObject.Property(type=bool, default=False)
    def empty(self):
        """Whether no bytes are left over."""
        return not self.data

    def start(self):
        self.stream.read_bytes_async(16, GLib.PRIORITY_DEFAULT, None, self.on_read, "reading")

    def on_read(self, stream, result, word):
        data = stream.read_bytes_finish(result).get_data()
        if not data:
            self.emit("closed")
            return
        self.data += data
        while len(self.data) >= 2:
            (length,) = struct.unpack_from("!H", self.data)
            if not self.emit("check", length):
                self.refused.emit(f"{length} is more than {self.limit}, while {word}")
                self.emit("closed")
                return
            if len(self.data) < 2 + length:
                break
            frame, self.data = self.data[2 : 2 + length], self.data[2 + length :]
            self.emit("frame", frame, self.frames + 1)
        self.start()


def main(folder):
    """Run it all in *folder*."""
    path = folder + "/socket"
    loop = GLib.MainLoop()
    listener = Gio.SocketListener.new()
    listener.add_address(Gio.UnixSocketAddress.new(path), Gio.SocketType.STREAM, Gio.SocketProtocol.DEFAULT, None)
    client = Gio.SocketClient.new().connect(Gio.UnixSocketAddress.new(path), None)
    connection, _ = listener.accept(None)
    framer = Framer(connection, limit=40)
    print("limit:", framer.limit, framer.props.limit, framer.get_property("limit"), framer.empty)
    print("properties:", sorted(each.name for each in framer.list_properties()))

    def on_frame(_framer, data, number, word):
        print(word, number, data.decode())

    def on_frames(changed, spec):
        print("notify:", spec.name, changed.get_property(spec.name))

    framer.connect("frame", on_frame, "plain")
    framer.connect_after("frame", on_frame, "after")
    framer.connect("notify::frames", on_frames)
    never = framer.connect("closed", lambda _framer: print("never"))
    framer.connect("closed", lambda _framer: loop.quit())
    framer.disconnect(never)
    output = client.get_output_stream()
    for each in (b"one", b"a frame that comes in pieces", b"", b"x" * 41):
        output.write_all(struct.pack("!H", len(each)) + each, None)
    framer.start()
    loop.run()
    print("frames:", framer.frames, framer.handler_is_connected(never))
    print("disconnected:", framer.disconnect_by_func(on_frames))
    framer.frames = 0
    try:
        framer.emit("nosuch")
    except TypeError:
        print("TypeError")
    client.close(None)
    connection.close(None)
    listener.close()


main(sys.argv[1])
