"""The model of what is in a socket, with which tests/hostile.py compares what operations take out of it."""

from __future__ import annotations

import os
import sys
from collections import deque

import internals

from unixconn import IOErrorEnum

CODE = IOErrorEnum
WAITS = {CODE.TIMED_OUT, CODE.CANCELLED, CODE.WOULD_BLOCK}
ENDS = {CODE.CLOSED, CODE.BROKEN_PIPE}

MOST_KEPT = internals.receive_data.MOST_KEPT
STREAM_METHODS = ("read", "read_all", "skip")
OF_FILES = ("receive_f", "receive_d")
"""How the names of the methods begin that receive descriptors alone."""


class Unit:
    """What one sendmsg() of the peer put into the socket."""

    def __init__(self, data: bytes, files: list[str], *, named: bool) -> None:
        self.data, self.files, self.named = data, files, named
        self.at = 0
        """How many bytes have been taken."""


class Queue:
    """
    The model of one socket: what is in it, and what each operation has to take out of it.

    The method of an operation gets its outcome, which is a value or the code of an Error, takes from the queue what the
    operation has taken from the socket, and raises AssertionError if the outcome is not right.
    """

    def __init__(self, *, is_stream: bool) -> None:
        self.is_stream = is_stream
        self.units: deque[Unit] = deque()
        self.kept: deque[list[str]] = deque()
        """
        The files that wait for the next operation that receives descriptors, by their messages.

        One without files is the loss of those that came with a byte that was read.
        """
        self.ended = self.refuses = self.names = False
        self.is_dead = self.has_unread = False
        """Whether the peer has been killed, and whether it never read what was sent to it."""
        self.room = sys.maxsize
        """How many descriptors this process may still open."""
        self.pid = 0

    # --- whether an operation has to wait ---

    def is_ready(self, name: str, count: object) -> bool:
        """Return whether an operation ends now."""
        if not name.startswith(OF_FILES):
            return bool(self.units) or self.ended or (name in STREAM_METHODS and self.is_full)
        if name in {"receive_fd", "receive_descriptor"}:
            return bool(self.units or self.kept) or self.ended
        sizes = [len(files) for files in self.kept]
        for unit in self.units:
            sizes.append(len(unit.files))
            sizes += [0] * (self.is_stream and len(unit.data) - unit.at > 1)
        if self.ended or (self.refuses and sizes) or 0 in sizes or (sizes and count is None):
            return True
        return sum(sizes) >= (count if isinstance(count, int) else 1)

    # --- what the operations take ---

    def _next_files(self) -> list[str] | None:
        """Take a byte or a record, for its files; None if there is none."""
        if self.kept:
            return self.kept.popleft()
        return self._next_of_socket() if self.units else None

    def _next_of_socket(self) -> list[str]:
        unit = self.units[0]
        files, unit.files = unit.files, []
        unit.at += 1 if self.is_stream else len(unit.data)
        if unit.at == len(unit.data):
            self.units.popleft()
        return files

    def descriptors(self, outcome: object, count: int | None = None, *, single: bool = False) -> None:
        """See `receive_fds`; with *single* `receive_fd`."""
        taken: list[list[str]] = []
        while True:
            if not self.kept and self._is_reset(outcome):
                return
            is_kept = bool(self.kept)
            found = self._next_files()
            if found is None:
                if self.ended:
                    assert outcome in ENDS, outcome
                else:
                    assert outcome in WAITS, outcome
                    self.kept.extend(taken)
                return
            if not found if is_kept else len(found) > self.room:
                assert outcome == CODE.TOO_MANY_OPEN_FILES, outcome
                return
            self.room -= 0 if is_kept else len(found)
            if not found:
                # At the end of a seqpacket connection an empty record looks like the end itself.
                assert outcome == CODE.FAILED or (self.ended and not self.is_stream and outcome in ENDS), outcome
                return
            if self.refuses:
                assert outcome == CODE.PERMISSION_DENIED, outcome
                return
            taken.append(found)
            files = [each for message in taken for each in message]
            if single or count is None or len(files) >= count:
                wanted = 1 if single else len(files) if count is None else count
                assert outcome == (files if len(files) == wanted else CODE.FAILED), (outcome, taken)
                return

    def receive_credentials(self, outcome: object, _count: object) -> None:
        """See the method of UnixConnection."""
        if self._is_over(outcome, CODE.FAILED):
            return
        unit = self.units[0]
        files = self._next_of_socket()
        if len(files) > self.room:
            assert outcome == CODE.TOO_MANY_OPEN_FILES, outcome
        elif files or not unit.data:
            assert outcome == CODE.FAILED, outcome
        else:
            unnamed = {("peer", os.getpid()), CODE.INVALID_DATA} if not unit.named else set()
            assert outcome in {("message", self.pid), *unnamed}, outcome

    def receive_message(self, outcome: object, size: int) -> None:
        """See the method of UnixConnection."""
        if self._is_over(outcome):
            return
        unit = self.units[0]
        is_whole = not self.is_stream or outcome == CODE.TOO_MANY_OPEN_FILES
        files = self._next_of_socket() if is_whole else self._take(outcome[0], size)
        if len(files) > self.room:
            assert outcome == CODE.TOO_MANY_OPEN_FILES, outcome
        elif not self.is_stream and len(unit.data) > size:
            assert outcome == CODE.MESSAGE_TOO_LARGE, outcome
        else:
            assert isinstance(outcome, tuple), outcome
            data, found, refused, pid = outcome
            assert data == unit.data or self.is_stream
            assert (found, refused) == (([], len(files)) if self.refuses else (files, 0))
            assert pid == self.pid or (pid is None and not (self.names and unit.named)), pid

    @property
    def is_full(self) -> bool:
        """Whether so many descriptors are kept that a stream reads no more."""
        return self._count_kept() > MOST_KEPT and not self.refuses

    def _count_kept(self) -> int:
        return sum(len(files) or 1 for files in self.kept)

    def may_fill(self) -> bool:
        """Return whether more are kept, or would be if all bytes were read, than a stream keeps."""
        return self._count_kept() + sum(len(unit.files) for unit in self.units) > MOST_KEPT

    def read(self, outcome: object, size: int) -> None:
        """See the method of InputStream."""
        if self.is_full:
            assert outcome == CODE.TOO_MANY_OPEN_FILES, outcome
            return
        if not self.units and self.ended and outcome == b"":
            return
        if not self._is_over(outcome):
            self._keep(self._take(outcome, size))

    def read_all(self, outcome: object, size: int) -> None:
        """See the method of InputStream. There are enough bytes."""
        assert isinstance(outcome, bytes), outcome
        assert len(outcome) == size
        at = 0
        while at < size:
            # One system call takes no more than the bytes up to the first files, and the next one goes on.
            unit = self.units[0]
            part = min(size - at, len(unit.data) - unit.at)
            self._keep(self._take(outcome[at : at + part], part))
            at += part

    def _keep(self, files: list[str]) -> None:
        if files and not self.refuses:
            self.kept.append(files if len(files) <= self.room else [])
            self.room -= len(self.kept[-1])

    def _is_over(self, outcome: object, *ends: CODE) -> bool:
        """Return whether no data came, which has to be right."""
        if self._is_reset(outcome):
            return True
        if not self.units:
            assert outcome in (ENDS | {*ends} if self.ended else WAITS), outcome
            return True
        return False

    def _is_reset(self, outcome: object) -> bool:
        """Return whether it is the error that Linux tells once, on a seqpacket socket before the records in it."""
        if self.is_stream or outcome != CODE.BROKEN_PIPE or not (self.is_dead and self.has_unread):
            return False
        self.has_unread = False
        return True

    def _take(self, data: object, size: int) -> list[str]:
        """Take the bytes *data* from a stream; return the files that go with them, which end a read."""
        assert isinstance(data, bytes), data
        assert 0 < len(data) <= size, (len(data), size)
        files: list[str] = []
        at = 0
        while at < len(data):
            assert not files, "a read went on behind a message with descriptors"
            unit = self.units[0]
            part = unit.data[unit.at : unit.at + len(data) - at]
            assert data[at : at + len(part)] == part
            at += len(part)
            unit.at += len(part)
            files, unit.files = unit.files, []
            if unit.at == len(unit.data):
                self.units.popleft()
        return files
