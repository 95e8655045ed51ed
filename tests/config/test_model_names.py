"""Models of other packages: how they become known, what is refused, and what is read of them before they are used."""

import sys

import pytest

from recbole_mind import InputError, register_model
from recbole_mind.config import keys, loading, model_names, without_effect
from recbole_mind.config.model_names import load_class, models
from tests.support.packages import installed, last_items

PROJECT = '[project]\nname = "{name}"\nversion = "1.0"\n\n[project.entry-points."recbole_mind.models"]\n{lines}\n'


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of installed packages; what becomes known in a test is forgotten after it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(model_names, "_REGISTERED", {})
    model_names._installed.cache_clear()
    keys.known_keys.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_models"]:  # of a test before
        monkeypatch.delitem(sys.modules, name)
    yield tmp_path
    keys.known_keys.cache_clear()
    model_names._installed.cache_clear()


def write(place, name, lines, **modules):
    installed(PROJECT.format(name=name, lines=lines), place)
    for module, text in modules.items():
        (place / f"{module}.py").write_text(text)


# -- entry points ------------------------------------------------------------------------------------------------------


def test_an_entry_point_makes_a_model_known_and_imports_nothing(place):
    with pytest.raises(InputError, match=r"^model: 'LastItems' is unknown"):
        keys.check_model("LastItems")
    last_items(place)
    model_names._installed.cache_clear()
    assert keys.check_model("LastItems") == "LastItems"
    assert list(models()) == [*model_names.MODELS, "LastItems"]
    assert loading.defaults("model", "LastItems")["K"] == 4
    assert "my_models.last_items" not in sys.modules


def test_ours_are_known_without_a_look_at_entry_points(place, monkeypatch):
    read = []
    with monkeypatch.context() as patch:
        patch.setattr(model_names, "_installed", lambda: read.append(1))
        assert model_names.is_model("MIND")
        assert load_class("MIND").__name__ == "MIND"
    assert not read


@pytest.mark.parametrize(
    ("lines", "asked", "message"),
    [
        ('MIND = "theirs"', "MIND", "'MIND' is the name of a model of recbole-mind; another package's needs another"),
        (
            'gru4rec = "theirs"',
            "gru4rec",
            "'gru4rec' is the name of a model of RecBole; another package's needs another",
        ),
        ('Mine = "the irs"', "Mine", "'Mine' is to be 'the irs'; allowed: 'package.module' or 'package.module:Class'"),
    ],
)
def test_an_entry_point_that_clashes_is_refused_where_it_is_asked_for(place, lines, asked, message):
    write(place, "theirs", lines)
    with pytest.raises(InputError) as caught:
        keys.check_model(asked)
    assert str(caught.value).startswith(f"model: {message}")
    assert str(caught.value).endswith("; so says an entry point of package theirs")
    assert keys.check_model("YouTubeDNN") == "YouTubeDNN"
    assert keys.check_model("BPR") == "BPR"


def test_one_name_of_two_packages_is_refused(place):
    write(place, "one", 'Mine = "one"')
    write(place, "two", 'mine = "two"')
    asked = next(iter(model_names._installed().refused))
    with pytest.raises(
        InputError, match=r"^model: 'M?m?ine' is also the model '(one|two)'; so says .* package (one|two)$"
    ):
        keys.check_model(asked)


# -- a call ------------------------------------------------------------------------------------------------------------


def test_a_call_makes_a_model_known_and_imports_nothing(place):
    register_model("Mine", "mine:Class")
    register_model("Mine", "mine:Class")
    assert model_names.registered() == {"Mine": "mine:Class"}
    assert models()["Mine"] == "mine:Class"
    assert "mine" not in sys.modules
    for name, target in (("Mine", "other"), ("MINE", "mine:Class")):
        with pytest.raises(InputError, match=f"^model: '{name}' is registered already, for 'mine:Class'; take another"):
            register_model(name, target)


@pytest.mark.parametrize("name", ["MIND", "mind", "SASRec", "sasrec", "", "_mine", "9", "a b", 3])
def test_a_name_that_cannot_be_is_refused(place, name):
    with pytest.raises(InputError, match=r"^model: "):
        register_model(name, "mine")
    assert model_names.registered() == {}


@pytest.mark.parametrize("target", ["", "mine:", ":Mine", "mine.py:a.b", "__main__", "__main__:Mine", "os;x", None])
def test_a_target_that_cannot_be_is_refused(place, target):
    with pytest.raises(InputError, match=r"^model: 'Mine' is to be .*; allowed: 'package.module' or "):
        register_model("Mine", target)


# -- use ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nothing.at.all", "model: 'Mine' is to be in the module 'nothing.at.all': No module named 'nothing'"),
        ("theirs", "model: 'Mine' is to be 'Mine' of the module 'theirs', which has none"),
        ("theirs:Other", "model: 'Mine' is 'theirs:Other', which is no class on recbole_mind.models.RetrievalModel"),
        ("theirs:number", "model: 'Mine' is 'theirs:number', which is no class on recbole_mind.models.RetrievalModel"),
    ],
)
def test_what_is_no_model_is_refused_when_it_is_loaded(place, monkeypatch, target, message):
    (place / "theirs.py").write_text("class Other: pass\n\nnumber = 3\n")
    register_model("Mine", target)
    with pytest.raises(InputError) as caught:
        load_class("Mine")
    assert str(caught.value) == message
    sys.modules.pop("theirs", None)


def test_a_library_that_a_model_lacks_is_named_as_such(place):
    (place / "needy.py").write_text("import a_library_that_is_not_there\n")
    register_model("Needy", "needy")
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_there"):
        load_class("Needy")


def test_settings_are_the_shared_ones_and_those_of_the_file(place):
    last_items(place)
    usual, mind = loading.defaults("model", "YouTubeDNN"), loading.defaults("model", "MIND")
    (place / "my_models/LastItems.yaml").write_text("K: 4\np: 2\ndropout: 0.5  # (float) less.\nown: x\n")
    found = loading.defaults("model", "LastItems")
    assert found == {key: usual[key] for key in usual if key in mind and not key.startswith("recency")} | {
        "K": 4, "p": 2, "dropout": 0.5, "own": "x"
    }  # fmt: skip
    keys.check_keys({"own": 1, "temperature": 1}, "LastItems", "settings")
    with pytest.raises(InputError, match=r"^settings: unknown key 'sigma' for LastItems"):
        keys.check_keys({"sigma": 1}, "LastItems", "settings")
    (place / "my_models/LastItems.yaml").unlink()
    with pytest.raises(
        InputError, match=r"^model: 'LastItems' has no file of defaults '.*LastItems.yaml'; an empty one"
    ):
        loading.defaults("model", "LastItems")


def test_a_setting_of_ours_is_read_where_what_decides_over_it_is_missing(place):
    last_items(place)
    (place / "my_models/LastItems.yaml").write_text("sigma: 0.5\np: 2\n")
    assert not {"sigma", "p"} & set(without_effect.unread("LastItems", {}))
    assert {"sampled_form", "num_negatives"} <= set(without_effect.unread("LastItems", {}))  # CE decides as for ours
    assert "p" in without_effect.unread("MIND", {"K": 1})
