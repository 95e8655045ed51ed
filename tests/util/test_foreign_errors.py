"""Errors of RecBole's own code are put into words, with the traceback in the log; ours keep theirs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from recbole_mind import InputError
from recbole_mind.models.youtube_dnn import YouTubeDNN
from recbole_mind.training import run
from recbole_mind.util import foreign_errors
from tests.support.shop import PYTHON, given


def test_the_log_holds_the_traceback(shop):
    with pytest.raises(InputError):
        run.run("SASRec", "shop", overrides=given(shop, n_layers=0))
    (log,) = Path("log/SASRec").glob("*.log")
    assert "Traceback" in log.read_text()
    assert "IndexError" in log.read_text()


def test_our_own_faults_keep_their_traceback(shop, monkeypatch):
    monkeypatch.setattr(YouTubeDNN, "read", lambda self, *_: {}["ours"])
    with pytest.raises(KeyError, match="ours"):
        run.run("YouTubeDNN", "shop", overrides=given(shop))


COUNTED = "3" if sys.version_info >= (3, 14) else "more"  # how many values of a list there are


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("{}['price']", "it asks for 'price', which is not there"),
        ("[][1]", "something is asked for beyond the end: list index out of range"),
        ("None.shape", "something that it needs is not there: 'None"),
        ("len(3)", "a value is of another kind than it takes: object of type 'int' has no len()"),
        ("1 / 0", "it divides by zero: division by zero"),
        ("a, b = [1]", "2 values are expected, and 1 are there"),
        ("a, b = [1, 2, 3]", f"2 values are expected, and {COUNTED} are there"),
        ("raise ValueError('bad\\nvalue')", "bad value"),
        ("raise ValueError", "it says no reason"),
        ("raise NotImplementedError", "it is not implemented"),
        ("raise RuntimeError('KeyError: ' + 'x' * 999)", "x" * 300 + " ..."),
        ("raise RuntimeError('CUDA out of memory. Tried')", "out of memory: CUDA out of memory. Tried"),
        ("raise AssertionError('two')", "two"),
        ("open('nowhere')", "'nowhere' cannot be opened: No such file or directory"),
        ("import nowhere", "the library 'nowhere' is not installed"),
    ],
)
def test_each_kind_of_error_is_put_into_words(code, said):
    theirs, ours = {"__name__": "recbole.model.x"}, {"__name__": "recbole_mind.x"}
    with pytest.raises(InputError) as error, foreign_errors.in_words("model: 'X'"):
        exec(code, theirs)
    assert str(error.value).startswith(f"model: 'X': {said}")
    assert str(error.value).endswith(" (RecBole's recbole.model.x, line 1)")
    assert not PYTHON.search(str(error.value))
    if "open" not in code:  # a file that cannot be opened is not a fault of ours
        kinds = (LookupError, AttributeError, TypeError, ArithmeticError, ValueError, RuntimeError, AssertionError)
        with pytest.raises((*kinds, ImportError)) as own, foreign_errors.in_words("model: 'X'"):
            exec(code, ours)
        assert not isinstance(own.value, InputError)


def test_a_field_that_a_model_of_recbole_asks_our_data_for_is_its_fault():
    ours: dict[str, object] = {"__name__": "recbole_mind.data.history_store"}
    exec("def field(name): return {}[name]", ours)
    theirs = {"__name__": "recbole.model.x", "field": ours["field"]}
    message = r"^it: it asks for 'price', which is not there \(RecBole's recbole.model.x, line 1\)$"
    with pytest.raises(InputError, match=message), foreign_errors.in_words("it"):
        exec("field('price')", theirs)
