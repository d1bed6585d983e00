"""What Pulumi starts in place of a plugin: asks `forked.py` for a fork with these streams, and ends when it ends.

Run as `python -I -S`, which is there in 20 ms: nothing but the standard library may be imported.
"""

import json
import os
import signal
import socket
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    wanted = {
        "program": sys.argv[2], "arguments": sys.argv[3:], "folder": os.getcwd(),  # noqa: PTH109
        "environment": dict(os.environ), "client": os.getpid(), "parent": os.getppid(),
    }  # fmt: skip
    text = json.dumps(wanted).encode()
    socket.send_fds(connection, [len(text).to_bytes(4, "big")], [0, 1, 2])
    connection.sendall(text)
    said = connection.makefile().read().split()  # the fork's process id, and its exit code once it has ended
sys.exit(int(said[1]) & 255 if len(said) > 1 else 1)
