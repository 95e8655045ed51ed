"""Patches stand over each other, can be taken back one by one, and have a test each."""

from __future__ import annotations

import importlib
import sys
import types

import pytest

from recbole_mind.plugin import patches
from recbole_mind.plugin.patches.patch import Attribute, Patch, Replace, Wrap
from tests.support import sources


@pytest.fixture
def library(monkeypatch):
    """A module with something to patch, and nothing of a patch before."""
    module = types.ModuleType("a_library")

    class Reader:
        def read(self, text):
            return f"read {text}"

    class Writer(Reader):
        pass

    module.Reader, module.Writer = Reader, Writer
    monkeypatch.setitem(sys.modules, "a_library", module)
    state = importlib.import_module("recbole_mind.plugin.patches.patch")
    for name, empty in (("_ORIGINALS", {}), ("_CHANGES", {}), ("_IN_FORCE", set())):
        monkeypatch.setattr(state, name, empty)
    return module


def patch(*changes, **more):
    return Patch("one", "it breaks", "it works", "RecBole 1.2.1", changes, **more)


def loud(original, self, text):
    return original(self, text).upper()


def twice(original, self, text):
    return 2 * original(self, text)


def test_changes_of_one_function_stand_over_each_other_and_return_to_their_place(library):
    read = library.Reader.read
    inner, outer = (patch(Wrap("a_library:Reader.read", function)) for function in (loud, twice))
    inner.apply()
    outer.apply()
    inner.apply()  # once more does nothing
    assert library.Reader().read("it") == "READ ITREAD IT"
    with inner.off():
        assert library.Reader().read("it") == "read itread it"
    assert library.Reader().read("it") == "READ ITREAD IT"
    outer.undo()
    assert library.Reader().read("it") == "READ IT"
    inner.undo()
    assert library.Reader.read is read


def test_what_was_not_there_or_inherited_is_gone_again(library):
    first = patch(Replace("a_library:Writer.read", lambda self, text: "mine"), Replace("a_library:size", 3))
    first.apply()
    assert (library.Writer().read("it"), library.Reader().read("it"), library.size) == ("mine", "read it", 3)
    first.undo()
    assert library.Writer().read("it") == "read it"
    assert "read" not in vars(library.Writer)
    assert not hasattr(library, "size")


def test_a_patch_is_applied_only_where_it_is_needed(library):
    idle = patch(Replace("a_library:size", 3), needed=lambda: False)
    idle.apply()
    assert not idle.in_force
    assert not hasattr(library, "size")
    assert str(idle) == "it breaks: it works (not needed here)"


def test_a_patch_says_which_library_and_which_issue(library):
    known = Patch("one", "it breaks", "it works", "numpy 2.0", (Replace("a_library:size", 3),), issue=7)
    assert str(known) == "it breaks: it works (numpy 2.0, issue 7)"
    assert str(patch()) == "it breaks: it works"


# -- the list -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [module for modules in patches.MODULES.values() for module in modules])
def test_every_patch_has_a_test_of_its_name(module):
    tests = vars(importlib.import_module(f"tests.plugin.patches.test_{module}"))
    found = patches.patches_of(module)
    assert found
    assert [patch.name for patch in found if not callable(tests.get(f"test_{patch.name}"))] == []


def test_the_list_names_each_patch_once_and_each_target_is_recboles_or_its_libraries():
    found = patches.catalogue()
    assert len({patch.name for patch in found}) == len(found)
    targets = [change.target for patch in found for change in patch.changes if isinstance(change, Attribute)]
    assert {target.split(":")[0].split(".")[0] for target in targets} == {"recbole", "scipy"}
    assert all(patch.changes for patch in found)


def test_every_patch_that_is_needed_is_in_force_once_recbole_is_imported():
    importlib.import_module("recbole.config")
    found = [patch for module in patches.MODULES["recbole.config"] for patch in patches.patches_of(module)]
    assert [patch.name for patch in found if patch.needed() and not patch.in_force] == []


# -- what they were written for -----------------------------------------------------------------------------------


@pytest.mark.parametrize("patch", patches.catalogue(), ids=lambda patch: patch.name)
def test_recboles_source_is_the_one_that_the_patch_was_written_for(patch):
    assert sources.targets(patch), f"patch '{patch.name}' names no source of RecBole"
    sources.check(patch, sources.recorded().get(patch.name, {}))


def test_no_source_is_recorded_of_a_patch_that_is_gone():
    assert set(sources.recorded()) == {patch.name for patch in patches.catalogue()}


def test_another_source_fails_by_the_names_of_the_patch_and_of_the_function(monkeypatch):
    checked = next(patch for patch in patches.catalogue() if patch.name == "checkpoints")
    known = sources.recorded()["checkpoints"]
    original = sources.source

    def edited(target):
        return original(target).replace("epoch", "round") if target.endswith("resume_checkpoint") else original(target)

    monkeypatch.setattr(sources, "source", edited)
    message = "'checkpoints' was written for another source of recbole.trainer.trainer:Trainer.resume_checkpoint than"
    with pytest.raises(AssertionError, match=message):
        sources.check(checked, known)


def test_the_original_of_a_patched_attribute_is_what_it_was(library):
    read = library.Reader.read
    for change in (Wrap("a_library:Reader.read", loud), Replace("a_library:Writer.read", loud)):
        before = change.original
        patch(change).apply()
        assert change.original is before
    assert (Replace("a_library:Reader.read", None).original, before) == (read, None)
