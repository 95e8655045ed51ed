"""Trying a bundle of somebody else's in a process of its own: what it does there, it does to nobody.

A bundle is a FAISS index and an ONNX graph, read by libraries in C++. Both are checked before they are opened
(:mod:`~recbole_mind.retrieval.index_check`, :mod:`~recbole_mind.serving.bundle.onnx_check`); what the checks do not
know ends the child, which has limits of time, processor time and memory, dumps no core and writes no file above a
megabyte. The child ends with its parent. Needs neither RecBole nor torch.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_mind.errors import InputError

SECONDS, BYTES_A_SECOND = 25.0, 2**24  # of the clock: so many, and one more for each so many bytes of the bundle
MEMORY, TIMES = 4 * 2**30, 4  # bytes of addresses: so many, and so many times the bundle's
THREADS = 4  # at most
_ANSWER = 2**20  # bytes
_PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
# the child imports what its parent would, and nothing from the folder that it stands in
_CODE = (
    "import json, sys; given = json.loads(sys.argv[1]); sys.path[:] = given['path']; "
    "from recbole_mind.serving import sandbox; sandbox.child(given)"
)


class Sandboxed:
    """One call of a function with a bundle's folder, in a process of its own.

    Args:
        folder: the bundle's.
        module, function: what is called with the folder and ``arguments``; it returns what JSON can say.
        seconds, memory: limits; by the bundle's size by default.
    """

    def __init__(
        self,
        folder: str | Path,
        module: str,
        function: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        seconds: float | None = None,
        memory: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        size = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        self.seconds = SECONDS + size / BYTES_A_SECOND if seconds is None else seconds
        self._given = {
            "path": sys.path,
            "parent": os.getpid(),
            "folder": str(self.folder),
            "module": module,
            "function": function,
            "arguments": dict(arguments or {}),
            "seconds": self.seconds,
            "memory": MEMORY + TIMES * size if memory is None else memory,
        }
        self._lock = threading.Lock()
        self._stopped = False
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> Any:
        """What the function returns.

        Raises:
            InputError: it refuses the bundle, fails, ends the process, or takes longer or more than the limits; or
                :meth:`stop` was called.
        """
        with tempfile.TemporaryFile() as answer:
            with self._lock:
                self._check_stopped()
                self._process = subprocess.Popen(  # noqa: S603 - ourselves
                    [sys.executable, "-c", _CODE, json.dumps(self._given)],
                    stdin=subprocess.DEVNULL,
                    stdout=answer,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,
                )
            try:
                code = self._process.wait(self.seconds)
            except subprocess.TimeoutExpired:
                raise self._refusal(f"it takes more than {self.seconds:.0f} seconds to try it") from None
            finally:
                self._process.kill()
                self._process.wait()
            self._check_stopped()
            if code:
                raise self._refusal(_ended(code))
            answer.seek(0)
            return self._read(answer.read(_ANSWER))

    def stop(self) -> None:
        """End the trial, from another thread."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def _check_stopped(self) -> None:
        if self._stopped:
            raise InputError(f"bundle '{self.folder}' was not tried to the end: the process is about to end")

    def _read(self, content: bytes) -> Any:
        try:
            found = json.loads(content)
            kind, value = found["kind"], found["value"]
        except (ValueError, KeyError, TypeError):
            raise self._refusal("trying it says nothing") from None
        if kind == "refused":
            raise InputError(value)
        if kind == "failed":
            raise self._refusal(f"trying it fails: {value}")
        return value

    def _refusal(self, reason: str) -> InputError:
        return InputError(f"bundle '{self.folder}' is refused: {reason}")


def _ended(code: int) -> str:
    if code == -getattr(signal, "SIGXCPU", 0):
        return "trying it takes too much processor time"
    names = {int(kind): kind.name for kind in signal.Signals}
    return f"trying it ends the process by {names.get(-code, f'exit status {code}')}"


def _environment() -> dict[str, str]:
    """The environment with few threads: each takes addresses, which have a limit."""
    found = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        asked = found.get(name, "")
        found[name] = str(min(int(asked), THREADS) if asked.isdigit() and int(asked) else THREADS)
    return found


# -- the child -------------------------------------------------------------------------------------------------------


def child(given: Mapping[str, Any]) -> None:
    """What the process does: limit itself, call the function, and write what comes of it to standard output."""
    _limit(given)
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is no answer
    try:
        function = getattr(importlib.import_module(given["module"]), given["function"])
        found = {"kind": "done", "value": function(given["folder"], **given["arguments"])}
    except InputError as error:
        found = {"kind": "refused", "value": str(error)}
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        found = {"kind": "failed", "value": f"{type(error).__name__}: {text}" if text else type(error).__name__}
    os.write(answer, json.dumps(found).encode())
    os._exit(0)  # without the destructors of what a crafted file made


def _limit(given: Mapping[str, Any]) -> None:
    import resource

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != given["parent"]:
        os._exit(1)
    limits = {
        resource.RLIMIT_AS: int(given["memory"]),
        resource.RLIMIT_CPU: int(given["seconds"] * THREADS) + 1,
        resource.RLIMIT_FSIZE: _ANSWER,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
