"""A daemon that starts a child, watches it and its signals, and answers over a socket: ``supervisor.py FOLDER``."""

import os
import signal
import sys

from gi.repository import Gio, GLib


class Supervisor:
    """Serves status requests until SIGTERM; a child reports to it by SIGUSR1."""

    def __init__(self, path):
        self.loop = GLib.MainLoop()
        self.service = Gio.SocketService.new()
        self.service.add_address(
            Gio.UnixSocketAddress.new(path), Gio.SocketType.STREAM, Gio.SocketProtocol.DEFAULT, None
        )
        self.service.connect("incoming", self.on_incoming)
        self.service.start()
        self.status = "starting"
        self.reports = 0
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGUSR1, self.on_report, "child")
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGTERM, self.on_end)

    def on_incoming(self, _service, connection, _source):
        credentials = connection.get_socket().get_credentials()
        text = f"{self.status} {credentials.get_unix_user() == os.getuid()}\n"
        connection.get_output_stream().write_all(text.encode(), None)
        connection.close(None)
        return True

    def on_report(self, who):
        self.reports += 1
        print("report of", who, self.reports)
        return GLib.SOURCE_CONTINUE

    def on_end(self):
        print("end")
        self.loop.quit()
        return GLib.SOURCE_REMOVE

    def spawn(self, command):
        pid = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", command)
        GLib.child_watch_add(GLib.PRIORITY_DEFAULT, pid, self.on_child, pid)
        self.status = "running"

    def on_child(self, pid, status, data):
        self.status = f"ended {os.WEXITSTATUS(status)}"
        print("child:", pid == data, self.status)
        GLib.timeout_add(1, self.ask)

    def ask(self):
        client = Gio.SocketClient.new()
        address = self.service_address
        client.connect_async(address, None, self.on_connected, "question")
        return GLib.SOURCE_REMOVE

    def on_connected(self, client, result, word):
        connection = client.connect_finish(result)
        stream = connection.get_input_stream()
        stream.read_bytes_async(100, GLib.PRIORITY_DEFAULT, None, self.on_answer, (connection, word))

    def on_answer(self, stream, result, data):
        connection, word = data
        print(word, stream.read_bytes_finish(result).get_data())
        connection.close(None)
        source = GLib.idle_source_new()
        source.set_callback(lambda number: os.kill(os.getpid(), number), signal.SIGTERM)
        source.attach(None)


def main(folder):
    """Run it all in *folder*."""
    path = folder + "/socket"
    started = GLib.get_monotonic_time()
    supervisor = Supervisor(path)
    supervisor.service_address = Gio.UnixSocketAddress.new(path)
    supervisor.spawn(f"kill -USR1 {os.getpid()}; sleep 0.1; exit 3")
    supervisor.loop.run()
    supervisor.service.stop()
    supervisor.service.close()
    print("stopped", supervisor.reports, GLib.get_monotonic_time() > started)
    domain = GLib.quark_from_string("supervisor")
    error = GLib.Error.new_literal(domain, "told to end", 5)
    print(error.domain, error.message, error.matches(domain, 5), error.matches(domain, 6))
    sys.exit(5)


main(sys.argv[1])
