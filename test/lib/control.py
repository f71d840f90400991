# SPDX-License-Identifier: Apache-2.0
"""A stand-in for control on a Unix socket: speaks the frames of src/base/rpc/rpc.h and answers from a table, so that
commands are tested without a platform. One thread a connection; everything ends with close()."""
import json
import os
import socket
import struct
import threading


class Control:
    """answers: method -> value, or function(params, more) -> value; raise Refuse for an error answer."""

    def __init__(self, path, answers, protocol=(1, 1)):
        self.path = str(path)
        self.answers = answers
        self.protocol = list(protocol)
        self.calls = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def close(self):
        if self.listener.fileno() < 0:
            return
        os.unlink(self.path)
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def _accept(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(conn,), daemon=True).start()

    def _serve(self, conn):
        with conn:
            try:
                send(conn, {"protocol": self.protocol, "name": "control@fake"})
                receive(conn)
                while True:
                    self._answer(conn, receive(conn))
            except (ConnectionError, OSError):
                pass

    def _answer(self, conn, msg):
        if "method" not in msg:
            return
        params = msg.get("params")
        self.calls.append((msg["method"], params))
        try:
            answer = self.answers[msg["method"]]
            if callable(answer):
                answer = answer(params, lambda part: send(conn, {"id": msg["id"], "more": part}))
            send(conn, {"id": msg["id"], "result": answer})
        except KeyError:
            send(conn, {"id": msg["id"], "error": {"code": "not_found", "message": "no such method"}})
        except Refuse as refusal:
            send(conn, {"id": msg["id"], "error": refusal.error})


class Refuse(Exception):
    def __init__(self, code, message, where="", fix=""):
        super().__init__(message)
        self.error = {"code": code, "message": message, "where": where, "fix": fix}


def send(conn, msg):
    data = json.dumps(msg).encode()
    conn.sendall(struct.pack("!I", len(data)) + data)


def receive(conn):
    size = struct.unpack("!I", exactly(conn, 4))[0]
    return json.loads(exactly(conn, size))


def exactly(conn, n):
    data = b""
    while len(data) < n:
        piece = conn.recv(n - len(data))
        if not piece:
            raise ConnectionError("closed")
        data += piece
    return data
