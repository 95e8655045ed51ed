"""The suite for models sees what a model must not do; without pytest the package says what it needs."""

import copy
import subprocess
import sys

import pytest
import torch

from recbole_mind.testing import ModelContract
from recbole_mind.testing.model import Trained, built


@pytest.fixture
def trained():
    made = built("YouTubeDNN", {})
    return Trained(made.model, next(iter(made.train)), made.test)


def noisy(model):
    read = model.read
    model.read = lambda *given: (read(*given)[0] + 1e-3 * torch.rand(1), read(*given)[1])


def of_the_batch(model):
    read = model.read
    model.read = lambda vectors, *rest: (read(vectors, *rest)[0] * (1 + 1e-3 * len(rest[1])), read(vectors, *rest)[1])


def long(model):
    read = model.read
    model.read = lambda *given: (read(*given)[0] * 2, read(*given)[1])


def unlike_its_training(model):
    encode = model.encode
    model.encode = lambda *given: encode(*given)._replace(interests=encode(*given).interests * 1.01)


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        (noisy, "test_two_evaluations_are_bit_equal"),
        (of_the_batch, "test_interests_depend_neither_on_the_batch_nor_on_the_padding"),
        (long, "test_interests_have_the_promised_shape_and_length"),
        (unlike_its_training, "test_weights_say_what_each_interest_is_made_of"),
    ],
)
def test_the_suite_sees_a_fault(trained, fault, test):
    getattr(ModelContract(), test)(trained)
    broken = copy.copy(trained.model)
    fault(broken)
    with pytest.raises(AssertionError):
        getattr(ModelContract(), test)(Trained(broken, trained.batch, trained.test))


def test_without_pytest_one_line_says_what_is_missing():
    code = "import sys; sys.modules['pytest'] = None; import recbole_mind.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = done.stderr.strip().splitlines()[-1]
    assert said == "ImportError: recbole_mind.testing needs the library 'pytest': pip install pytest"
    assert "During handling" not in done.stderr


def test_the_package_alone_imports_neither_torch_nor_pytest(tmp_path):
    code = "import sys, recbole_mind; print(sorted({'torch', 'pytest', 'recbole'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"
