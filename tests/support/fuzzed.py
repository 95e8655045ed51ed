"""Open mutated bundles, each in a process of its own that is forked from this one, and tell what came of each.

``python -m tests.support.fuzzed KIND NUMBER SEED WORK BUNDLE...`` mutates a file of the kind in a copy of a bundle
NUMBER times, seals the copy again, loads it and recalls. Prints, as JSON, how often what came of it, and each case that
is not as it should be, whose seed gives the same mutation again.
"""

from __future__ import annotations

import collections
import json
import os
import random
import resource
import shutil
import signal
import sys
import traceback
from pathlib import Path

import faiss
import onnxruntime  # noqa: F401 - once, for all that are forked

from recbole_mind.errors import InputError
from recbole_mind.serving.http import hot_swap
from recbole_mind.serving.recaller import Recaller
from tests.support.sealing import reseal

PATTERNS = {
    "faiss": ("index/*.faiss",),
    "onnx": ("encoder.onnx",),
    "json": ("manifest.json", "index/manifest.json"),
    "npy": ("*.npy", "*/*.npy"),
}
SECONDS, MEMORY = 30, 6 * 2**30
INTERESTING = (0, 1, 2, 3, 7, 8, 15, 16, 17, 49, 50, 51, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
WORDS = (b"0", b"-1", b"1e999", b"NaN", b"null", b'"x"', b"[]", b"{}", b"99999999999999999999", b"[" * 2000, b"\xff")


def main() -> None:
    kind, number, seed, work, *bundles = sys.argv[1:]
    counts: collections.Counter[str] = collections.Counter()
    wrong = []
    for place in range(int(number)):
        case = f"{kind}-{seed}-{place}"
        folder = Path(work) / "case"
        shutil.copytree(bundles[place % len(bundles)], folder)
        name = mutate(folder, kind, random.Random(case))
        came, said = attempt(folder)
        counts[came] += 1
        if came not in ("recalls", "refused"):
            wrong.append({"case": case, "file": name, "came": came, "said": said})
        shutil.rmtree(folder)
    print(json.dumps({"counts": counts, "wrong": wrong}))


# -- mutating --------------------------------------------------------------------------------------------------------


def mutate(folder: Path, kind: str, rng: random.Random) -> str:
    """Mutate one file of the kind in a bundle, and seal it again where that can be; its name."""
    paths = sorted(path for pattern in PATTERNS[kind] for path in folder.glob(pattern))
    path = rng.choice(paths)
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 2, 5))):
        content = changed(content, kind, rng)
    path.write_bytes(content)
    name = path.relative_to(folder).as_posix()
    if name != "manifest.json":
        reseal(folder)
        return name
    try:  # values of the manifest, sealed as one who means harm would
        found = json.loads(content)
        reseal(folder, **({} if isinstance(found, dict) and "files" not in found else {"files": found["files"]}))
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        pass
    return name


def changed(content: bytearray, kind: str, rng: random.Random) -> bytearray:
    """Some bytes flipped, set, cut, put in from elsewhere or from a list; the head and the tail most often."""
    size = max(1, len(content))
    near = rng.choice((rng.randrange(size), rng.randrange(min(400, size)), size - 1 - rng.randrange(min(300, size))))
    what = rng.random()
    if kind == "json" and what < 0.6:
        end = near
        while end < len(content) and content[end] not in b',\n}]"':
            end += 1
        content[near:end] = rng.choice(WORDS)
    elif what < 0.4:
        content[near : near + 1] = bytes([(content[near] if content else 0) ^ 1 << rng.randrange(8)])
    elif what < 0.7:
        width = rng.choice((1, 4, 8))
        content[near : near + width] = (rng.choice(INTERESTING) % 2 ** (8 * width)).to_bytes(width, "little")
    elif what < 0.8:
        del content[near:]
    else:
        other = rng.randrange(size)
        content[near : near + rng.choice((0, 16))] = content[other : other + rng.choice((1, 8, 16, 64))]
    return content


# -- trying ----------------------------------------------------------------------------------------------------------


def attempt(folder: Path) -> tuple[str, str]:
    """What comes of a bundle: ``recalls``, ``refused`` in one line, or what must not be."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        said = use(folder)
        os.write(writer, said.encode("utf-8", "replace")[:60_000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read().decode()
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return "ended by " + signal.Signals(os.WTERMSIG(status)).name, said
    came, _, text = said.partition("\n")
    return came, text


def use(folder: Path) -> str:
    """Load a bundle and recall, as a caller in Python does; in the words of :func:`attempt`."""
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        recaller = Recaller.load(folder, threads=1)
        hot_swap._smoke(recaller)
        recaller.recall(["i1", "i3"], {"user_id": "u1"}, n=10, allowed=["i2", "i4", "i9"])
        return "recalls"
    except InputError as error:
        text = str(error)
        return "refused" if "\n" not in text and len(text) < 2000 else f"many lines\n{text}"
    except BaseException:
        return f"traceback\n{traceback.format_exc()}"


if __name__ == "__main__":
    faiss.omp_set_num_threads(1)
    main()
