"""Train, evaluate and open models: ``run``, ``evaluate``, ``load``, and the steps they are made of."""

from recbole_mind.training.build import build_config, build_data, build_model, build_trainer
from recbole_mind.training.describe import describe_interests, popularity
from recbole_mind.training.load import Loaded, load, trainer_for
from recbole_mind.training.result import RunResult
from recbole_mind.training.run import evaluate, run

__all__ = [
    "Loaded",
    "RunResult",
    "build_config",
    "build_data",
    "build_model",
    "build_trainer",
    "describe_interests",
    "evaluate",
    "load",
    "popularity",
    "run",
    "trainer_for",
]
