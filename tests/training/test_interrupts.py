"""Ctrl-C that waits, once."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from recbole_mind.training.interrupts import Interrupts


@pytest.fixture(autouse=True)
def _interruptible():
    """A test run in the background ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)


def test_the_first_waits_and_the_second_does_not():
    interrupts = Interrupts(held=True)
    with interrupts.waiting():
        interrupt()
        assert interrupts.asked
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_was_asked_between_two_contexts_is_not_forgotten():
    """Ctrl-C after the last batch of an epoch ends the next one's first."""
    interrupts = Interrupts(held=True)
    with interrupts.waiting():
        interrupt()
    with interrupts.waiting():
        assert interrupts.asked


def test_it_does_not_wait_where_it_is_not_held():
    interrupts = Interrupts(held=False)
    with pytest.raises(KeyboardInterrupt), interrupts.waiting():
        interrupt()
    assert not interrupts.asked


def test_somebody_elses_handler_stays():
    def handler(*_):
        pass

    signal.signal(signal.SIGINT, handler)
    with Interrupts(held=True).waiting():
        assert signal.getsignal(signal.SIGINT) is handler


def test_another_thread_may_train():
    found = []

    def train():
        with Interrupts(held=True).waiting():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
