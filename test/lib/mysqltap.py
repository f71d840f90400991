# SPDX-License-Identifier: Apache-2.0
"""Writes down a conversation: python3 test/lib/mysqltap.py UPSTREAM-SOCKET FILE COMMAND...
runs COMMAND with "@" replaced by the path of a socket that it may connect to, once. The file holds records: "C" or "S"
(who spoke), 4 bytes of length (little endian), bytes. test/unit/proto/mysql.c and test/fuzz/mysql.c read such files;
those in test/fuzz/corpus/mysql were made so, between clients and MariaDB 10.11."""
import pathlib
import selectors
import socket
import struct
import subprocess
import sys
import tempfile


def tap(upstream, path, command):
    with tempfile.TemporaryDirectory() as d, open(path, "wb") as out:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{d}/s")
        listener.listen(1)
        client_process = subprocess.Popen([w.replace("@", f"{d}/s") for w in command])
        client, _ = listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(upstream)
        sel = selectors.DefaultSelector()
        sel.register(client, selectors.EVENT_READ, (b"C", server))
        sel.register(server, selectors.EVENT_READ, (b"S", client))
        while True:
            for key, _ in sel.select():
                who, to = key.data
                data = key.fileobj.recv(1 << 16)
                if not data:
                    client.close()
                    server.close()
                    return client_process.wait()
                out.write(who + struct.pack("<I", len(data)) + data)
                to.sendall(data)


if __name__ == "__main__":
    sys.exit(tap(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]))
