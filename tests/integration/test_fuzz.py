"""Mutated files of every kind, some of each: no crash, no wait, nothing run, one line. ``make fuzz`` tries thousands.

``FUZZ_FILES`` is how many mutations of each kind are tried, ``FUZZ_SEED`` which ones, ``FUZZ_SECONDS`` for how long a
kind may take.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import ROOT
from tests.support import fuzz

NUMBER = int(os.environ.get("FUZZ_FILES", "12"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "300"))
FOUND = {  # mutations (seed, number) that once crashed, hung or ended in a traceback
    "ours, resumed": [(2, 88)],
    "packed": [(2, 3)],
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder, before = tmp_path_factory.mktemp("good"), Path.cwd()
    os.chdir(folder)
    try:
        fuzz.prepare(folder)
    finally:
        os.chdir(before)
    return folder


def outcomes(kind, folder, seed, first, last):
    """What came of each mutation; a process that ended is begun again after the one that ended it."""
    found, until = {}, time.monotonic() + SECONDS
    while first < last and time.monotonic() < until:
        command = [sys.executable, "-m", "tests.support.fuzz", kind, str(folder), str(seed), str(first), str(last)]
        root = str(ROOT)
        begun = None
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=os.environ | {"PYTHONPATH": root}) as process:  # fmt: skip
            for line in process.stdout:
                said = json.loads(line)
                begun = said.get("begin", begun)
                if "end" in said:
                    found[said["end"]] = said["found"]
                if time.monotonic() > until:
                    process.terminate()
            words = process.stderr.read()
            status = process.wait()
        assert begun is not None or status == 0, words  # it did not come so far as to read the good file
        if begun is not None and begun not in found and status != -15:
            found[begun] = f"FAULT: the process ended with status {status}: {words[-1500:]}"
        first = last if begun is None or status == 0 else begun + 1
    return found


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_mutated_files_are_opened_or_refused_in_one_line(good, kind):
    found = outcomes(kind, good, SEED, 0, NUMBER)
    print(f"{kind}: {len(found)} tried, {sum(said == 'opened' for said in found.values())} opened")
    faults = {number: said for number, said in found.items() if said.startswith("FAULT")}
    assert not faults, "\n".join(f"{kind} {SEED} {number}: {said}" for number, said in faults.items())
    assert found


@pytest.mark.parametrize("kind", [kind for kind, cases in FOUND.items() if cases])
def test_what_was_found_stays_mended(good, kind):
    for seed, number in FOUND[kind]:
        (said,) = outcomes(kind, good, seed, number, number + 1).values()
        assert not said.startswith("FAULT"), said
