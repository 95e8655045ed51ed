"""RecBole's quick start on a machine without Ray, or with one that lacks what Tune asks for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.data import small_settings

HIDDEN = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == NAME or name.startswith(NAME + "."):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Hidden())
sys.argv = ["script"]
"""


def without(name: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process in which the module ``name`` is not installed."""
    program = f"NAME = {name!r}\n{HIDDEN}\n{code}"
    return subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)


@pytest.mark.parametrize("name", ["ray", "requests"])  # which Tune asks for, and Ray itself does not
def test_ray_import(small, name):
    done = without(name, "from recbole.quick_start import run_recbole")
    assert done.returncode == 1
    assert "Error: " in done.stderr.splitlines()[-1]
    done = without(
        name,
        "import recbole_mind\n"
        "from recbole.quick_start import objective_function, run_recbole\n"
        f"settings = {small_settings(small, train_neg_sample_args=None)!r}\n"
        "result = run_recbole('MIND', 'small', config_dict=dict(settings))\n"
        "told = objective_function(settings | {'model': 'MIND', 'dataset': 'small'})\n"
        "print('same', result['test_result'] == told['test_result'], result['test_result']['recall@10'] > 0)\n",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "same True True"


def test_ray_itself_stays_away_and_what_stands_in_says_what_to_install():
    done = without(
        "ray",
        "import recbole_mind, recbole.quick_start.quick_start as quick_start\n"
        "from recbole_mind.plugin.patches.without_ray import RAY_IMPORT as patch\n"
        "print(patch.needed(), patch.in_force, 'ray' in sys.modules, hasattr(quick_start.tune, '__wrapped__'))\n"
        "try:\n"
        "    import ray\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
        "quick_start.tune.run\n",
    )
    assert done.stdout.splitlines() == ["True False False False", "No module named 'ray'"]
    line = "tune.run needs the library 'ray', which is not installed: pip install 'recbole-mind[sweep]'"
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {line}"


def test_a_ray_that_is_there_is_left_alone():
    code = (
        "import recbole_mind, recbole.quick_start, sys, ray, ray.tune\n"
        "from recbole_mind.plugin.patches.without_ray import RAY_IMPORT as patch\n"
        "print(patch.needed(), patch.in_force, ray.tune is sys.modules['ray.tune'], ray.__version__ > '2')"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True", "True"]
