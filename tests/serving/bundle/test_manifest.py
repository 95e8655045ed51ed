"""The manifest's model: what export writes is what it describes, to the byte."""

from __future__ import annotations

import json

from jsonschema import Draft202012Validator

from recbole_mind.serving.bundle import sealed_folder
from recbole_mind.serving.bundle.manifest import Manifest
from tests import ROOT


def test_the_model_describes_every_byte_that_export_writes(two_bundles):
    for folder in two_bundles:
        text = (folder / "manifest.json").read_bytes()
        content = json.loads(text)
        assert sealed_folder.canonical(Manifest.model_validate(content).model_dump()) == text
        schema = json.loads((ROOT / "properties/schema/manifest.json").read_text("utf-8"))
        assert list(Draft202012Validator(schema).iter_errors(content)) == []


def test_what_only_describes_may_be_missing_and_more_may_be_there(two_bundles):
    content = json.loads((two_bundles[0] / "manifest.json").read_text("utf-8"))
    for key in ("metrics", "loss", "versions", "encoder", "index"):
        del content[key]
    found = Manifest.model_validate(content | {"later": 1})
    assert (found.loss, found.metrics.valid, found.index.recall) == (None, {}, None)
