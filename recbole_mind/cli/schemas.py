"""Write the JSON schemas of our files, with which editors complete them: ``python -m recbole_mind.cli.schemas FOLDER``.

They are made of the models that check the files. What a key of the gate, of the service or of a window means, and what
it is by default, stands in the YAML that ships, and is taken from there.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import WithDefaultSchema

from recbole_mind.analysis.monitoring import rules as watch
from recbole_mind.config import loading, window
from recbole_mind.experiments.leaderboard import spec as leaderboard
from recbole_mind.experiments.sweep import spec as sweep
from recbole_mind.serving.bundle import manifest
from recbole_mind.serving.http import assignment
from recbole_mind.serving.http import schema as serve
from recbole_mind.serving.store import gate

FILES: dict[str, type[BaseModel]] = {
    "leaderboard": leaderboard.LeaderboardSpec,
    "tuned": leaderboard.Tuned,
    "sweep": sweep.SweepSpec,
    "gate": gate.GateLimits,
    "watch": watch.WatchRules,
    "serve": serve.ServiceLimits,
    "shares": assignment.SharesFile,
    "window": window.Window,
    "manifest": manifest.Manifest,
}
_DOCUMENTED = {
    "gate": ("production", "gate"),
    "watch": ("production", "watch"),
    "serve": ("production", "serve"),
    "window": ("model", "MIND"),
}
_KEY = re.compile(r"^(\w+):[^#\n]*# \([\w ]+\) (.+(?:\n +# +.+)*)", re.MULTILINE)


class _Schema(GenerateJsonSchema):
    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        return {"$schema": self.schema_dialect, **super().generate(schema, mode)}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False  # it would repeat the key

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        """No default that is empty, which says no more than that the key may be left out."""
        empty = schema.get("default", ...) in (None, "", {})
        return self.generate_inner(schema["schema"]) if empty else super().default_schema(schema)


def schema(name: str) -> dict[str, Any]:
    """The JSON schema (2020-12) of one of the :data:`FILES`."""
    found = FILES[name].model_json_schema(schema_generator=_Schema) | {"title": f"recbole-mind {name}"}
    if name in _DOCUMENTED:
        usual = loading.defaults(*_DOCUMENTED[name])
        meanings = described(*_DOCUMENTED[name])
        found.pop("required", None)
        for key, value in found["properties"].items():
            value |= {"description": meanings[key]} | ({} if usual[key] is None else {"default": usual[key]})
    if name == "window":
        found.pop("additionalProperties")  # its keys stand among other settings
    return found


def described(kind: str, name: str) -> dict[str, str]:
    """What the comments of ``properties/<kind>/<name>.yaml`` say of each key."""
    text = (files("recbole_mind.properties") / kind / f"{name}.yaml").read_text("utf-8")
    return {key: re.sub(r"\n +# +", " ", said) for key, said in _KEY.findall(text)}


def main(folder: str) -> None:
    """Write each schema into ``folder``."""
    for name in FILES:
        text = json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"
        Path(folder, f"{name}.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
