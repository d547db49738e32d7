"""A panel that takes records with descriptors from plain sockets, watched by the loop: ``record_panel.py FOLDER``."""

import os
import socket
import sys
import threading
from pathlib import Path

from gi.repository import Gio, GLib

IN, HUP = GLib.IOCondition.IN, GLib.IOCondition.HUP


class Panel:
    """Listens on a socket of records, and asks Gio only who is at the other end, and for streams over descriptors."""

    def __init__(self, path, loop):
        self.loop = loop
        self.clients = {}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.bind(path)
        Path(path).chmod(0o600)
        self.socket.listen(2)
        self.socket.setblocking(False)
        self.watch = GLib.unix_fd_add_full(GLib.PRIORITY_HIGH, self.socket.fileno(), IN, self.on_connection)

    def on_connection(self, _fd, _condition):
        while True:
            try:
                client, _address = self.socket.accept()
            except BlockingIOError:
                return GLib.SOURCE_CONTINUE
            credentials = Gio.Socket.new_from_fd(os.dup(client.fileno())).get_credentials()
            print("panel: a client of this user:", credentials.get_unix_user() == os.getuid())
            client.setblocking(False)
            number = GLib.io_add_watch(client, GLib.PRIORITY_DEFAULT, IN | HUP, self.on_record, client.fileno())
            self.clients[client.fileno()] = number

    def on_record(self, client, condition, number):
        try:
            data, fds, flags, _address = socket.recv_fds(client, 100, 4)
        except BlockingIOError:
            return True
        print("panel:", data, len(fds), bool(flags & socket.MSG_CTRUNC), bool(condition & IN))
        if not data:
            del self.clients[number]
            client.close()
            self.loop.quit()
            return False
        if fds:
            stream = Gio.DataInputStream.new(Gio.UnixInputStream.new(fds[0], True))
            stream.read_line_async(GLib.PRIORITY_DEFAULT, None, self.on_line, client)
        else:
            client.send(data.upper())
        return True

    def on_line(self, stream, result, client):
        line = stream.read_line_finish_utf8(result)
        print("panel: a line", line, line.length)
        if line[0] is None:
            print("panel: closed", stream.close(None), stream.get_base_stream().is_closed())
            client.send(b"read")
        else:
            stream.read_line_async(GLib.PRIORITY_LOW, None, self.on_line, client)


def ask(path, heard):
    """Be the client: send a record, then one with a pipe, and note the answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(path)
        client.send(b"hello")
        heard.append(client.recv(100))
        reader, writer = os.pipe()
        socket.send_fds(client, [b"pipe"], [reader])
        os.close(reader)
        os.write(writer, b"one\ntwo, without an end")
        os.close(writer)
        heard.append(client.recv(100))


def main(folder):
    """Serve one client, which runs in a thread."""
    path = folder + "/panel"
    loop = GLib.MainLoop()
    panel = Panel(path, loop)
    heard = []
    thread = threading.Thread(target=ask, args=(path, heard))
    thread.start()
    loop.run()
    thread.join()
    print("client:", heard, panel.clients)
    print(GLib.Source.remove(panel.watch))
    panel.socket.close()


main(sys.argv[1])
