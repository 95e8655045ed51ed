"""``recbole-mind serve`` in a process of its own, for benchmarks that ask it."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

_CODE = "import sys; from recbole_mind.cli.main import main; sys.exit(main())"


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A context with a service, its process and the port that it listens at; it is ended with it.

    Raises:
        RuntimeError: it ends before it listens.
    """
    command = [sys.executable, "-c", _CODE, "serve", *arguments, "--port=0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None  # noqa: S101 - a pipe
        found = None
        while found is None:
            line = process.stderr.readline()
            found = re.search(r"listening at http://127\.0\.0\.1:(\d+)", line)
            if not line:
                raise RuntimeError("the service did not start")
        threading.Thread(target=process.stderr.read, daemon=True).start()  # what it still says wants a reader
        yield process, int(found[1])
    finally:
        process.terminate()
        process.wait(60)
