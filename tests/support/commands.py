"""The command that serves, in a process of its own."""

import contextlib
import json
import os
import re
import resource
import socket
import subprocess
import sys

from tests.support.serving import Running
from tests.support.waiting import HANG

BODY = json.dumps({"history": ["i1", "i3", "i5"], "n": 5}).encode()


@contextlib.contextmanager
def command(*arguments, files=None, **environment):
    """The command serve, in a process that may open so many files: its port and its process."""

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    code = "import sys; from recbole_mind.cli.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, "serve", *map(str, arguments), "--port=0"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        preexec_fn=few if files else None,
    )
    try:
        process.said = []
        while "listening at" not in "".join(process.said[-1:]):
            line = process.stderr.readline()
            assert line, process.said
            process.said.append(line)
        yield Running(int(re.search(r":(\d+)\b\D*$", process.said[-1])[1])), process
    finally:
        process.kill()
        process.said += process.communicate()[1].splitlines(keepends=True)


def connect(served):
    return socket.create_connection(("127.0.0.1", served.port), timeout=HANG)


def rest_of(connection):
    """What comes until the other side is done."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(2**16):
            parts.append(part)
    return b"".join(parts)
