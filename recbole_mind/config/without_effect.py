"""Settings that a run does not read: which they are under the other settings, and what would read them.

One that a user gives (on the command line, in a file, in ``overrides``, a sweep or a leaderboard) is refused. One that
stands at its default, or that comes with a record or a checkpoint that is used again, is not: the record names it under
``without_effect``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from recbole_mind.config import checks, loading, presets
from recbole_mind.config import keys as setting_keys
from recbole_mind.config.model_names import MODELS, is_model
from recbole_mind.errors import InputError
from recbole_mind.util.json_text import same

DRAWN = ("uniform", "popularity", "log_uniform")  # proposals that the model draws from itself


class Need(NamedTuple):
    """What must hold for a setting to be read.

    Attributes:
        keys: the settings that decide.
        holds: of all settings; only those of ``keys`` may be asked.
        words: what they must be.
    """

    keys: tuple[str, ...]
    holds: Callable[[Mapping[str, Any]], bool]
    words: str


def _loss(values: Mapping[str, Any]) -> str:
    return str(values.get("loss_type")).lower()


def _number(value: Any) -> float:
    try:
        return float(str(value).strip().lower().replace(".inf", "inf"))
    except ValueError:
        return 0.0


def _mode(values: Mapping[str, Any]) -> str:
    given = values.get("eval_args")
    return str(given.get("mode")) if isinstance(given, Mapping) else ""


_SAMPLED = Need(("loss_type",), lambda s: _loss(s) == "sampled", "loss_type sampled")
_SEVERAL = Need(("K",), lambda s: _number(s.get("K")) > 1, "K above 1")
_ROUTED = Need(
    ("K", "routing_softmax"),
    lambda s: _number(s.get("K")) > 1 or s.get("routing_softmax") == "behaviors",
    "K above 1, or routing_softmax behaviors",
)
_TIME = "fields with TIME_FIELD among them: our models read no other float field"


def _sequential(values: Mapping[str, Any]) -> bool:
    kind = values.get("MODEL_TYPE")  # RecBole's Config knows it
    return kind is None or kind.name == "SEQUENTIAL"


def _never(words: str) -> tuple[Need, ...]:
    return (Need((), lambda s: False, words),)


def _names_time(key: str) -> tuple[Need, ...]:
    def holds(values: Mapping[str, Any]) -> bool:
        return values.get("TIME_FIELD", "timestamp") in (values.get(key) or [])

    return (Need((), holds, _TIME),)


_GRAPH = _never("a model of RecBole that reads a knowledge graph")

# Of our models. A need that names no setting is one that none of them can meet.
OURS: dict[str, tuple[Need, ...]] = {
    "sampled_form": (_SAMPLED,),
    "negatives": (_SAMPLED,),
    "num_negatives": (
        _SAMPLED,
        Need(
            ("negatives",), lambda s: s.get("negatives") in DRAWN, f"negatives {', '.join(DRAWN[:-1])} or {DRAWN[-1]}"
        ),
    ),
    "negative_alpha": (
        _SAMPLED,
        Need(("negatives",), lambda s: s.get("negatives") == "popularity", "negatives popularity"),
    ),
    **dict.fromkeys(("p", "adaptive_K", "capsule_length", "negative_interest"), (_SEVERAL,)),
    "attention_form": (
        _SEVERAL,
        Need(("p",), lambda s: 0 < _number(s.get("p")) < float("inf"), "p above 0 and below inf"),
    ),
    **dict.fromkeys(("sigma", "routing_init", "routing_iterations", "whole_share"), (_ROUTED,)),
    "recency_start": (
        Need(
            ("recency",),
            lambda s: s.get("recency") in ("learned", "per_interest"),
            "recency learned or per_interest",
        ),
    ),
    "profile_embedding_size": (Need(("user_features",), lambda s: bool(s.get("user_features")), "user_features"),),
    "stopping_step": (Need(("eval_step",), lambda s: _number(s.get("eval_step", 1)) > 0, "eval_step above 0"),),
    "threshold": (
        Need(("eval_args",), lambda s: "labeled" in _mode(s), "eval_args mode labeled (val_interval drops rows)"),
    ),
    "preload_weight": _never("a model of RecBole that asks for pretrained vectors"),
    "additional_feat_suffix": _never("a model of RecBole that asks for further files"),
    "require_pow": _never("LightGCN or SimpleX of RecBole"),
    "discretization": _never("a model of RecBole that embeds float fields"),
    "numerical_features": _names_time("numerical_features"),
    "normalize_field": _names_time("normalize_field"),
    **dict.fromkeys(("alias_of_entity_id", "alias_of_relation_id", "kg_reverse_r", "entity_kg_num_interval"), _GRAPH),
    "relation_kg_num_interval": _GRAPH,
}
# Of every model.
EVERY: dict[str, tuple[Need, ...]] = {
    "window_unit": (Need(("window_days", "window_end"), lambda s: checks.by_window(s), "window_days or window_end"),),
    "wandb_project": (Need(("log_wandb",), lambda s: bool(s.get("log_wandb")), "log_wandb True"),),
    "tail_ratio": (
        Need(("metrics",), lambda s: "tailpercentage" in str(s.get("metrics")).lower(), "the metric TailPercentage"),
    ),
    "gpu_id": (Need(("use_gpu",), lambda s: s.get("use_gpu", True) is not False, "use_gpu True"),),
    "lazy_sequences": (
        Need((), _sequential, "a sequential model"),
        Need(("benchmark_filename",), lambda s: s.get("benchmark_filename") is None, "no benchmark_filename"),
    ),
    "timestamp_order": (
        Need(("eval_args",), lambda s: _sequential(s) or "'TO'" in str(s.get("eval_args")), "order TO in eval_args"),
    ),
}


# What only training reads: a trained model has nothing to take from it.
TRAINING = frozenset({
    "epochs", "train_batch_size", "learner", "learning_rate", "train_neg_sample_args", "eval_step", "stopping_step",
    "clip_grad_norm", "weight_decay", "loss_decimal_place", "shuffle", "enable_amp", "enable_scaler", "sparse_updates",
    "checkpoint_minutes", "loss_type",
})  # fmt: skip
TRAINING_OF_OURS = TRAINING | {
    "sampled_form", "negatives", "num_negatives", "negative_alpha", "negative_interest", "temperature", "p",
    "attention_form", "dropout", "horizon", "initializer_range", "routing_regularization",
}  # fmt: skip


def rules(model: str) -> dict[str, tuple[Need, ...]]:
    """What the settings of ``model`` need to be read, for those that are not always read.

    A model of another package may lack what decides over a setting of ours: it then reads that setting always.
    """
    if model in MODELS or not is_model(model):
        return EVERY | (OURS if model in MODELS else {})
    ours, own = set().union(*(loading.defaults("model", name) for name in MODELS)), loading.defaults("model", model)
    lacking = ours - set(own)
    return EVERY | {key: needs for key, needs in OURS.items() if not any(lacking & set(need.keys) for need in needs)}


def unread(model: str, values: Mapping[str, Any]) -> dict[str, str]:
    """The settings of ``model`` that a run under ``values`` does not read, each with the reason.

    Args:
        values: all settings; what is missing counts as its default, or as the preset that they name has it.
    """
    preset = presets.chosen(values, model) if model in MODELS else {}
    whole = loading.defaults("model", model) | preset | dict(values)
    found = {}
    for key, needs in rules(model).items():
        lacking = next((need for need in needs if not need.holds(whole)), None)
        if lacking is None:
            continue
        state = " and ".join(f"{name} {whole[name]}" for name in lacking.keys if whole.get(name) is not None)
        under = f" with {state}" if state and lacking.keys != ("eval_args",) else f" by {model}"
        words = " and ".join(need.words for need in needs)
        found[key] = f"it is not read{under}, but takes {words}"
    return found


def refuse_training(given: Mapping[str, Any], trained: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` for a setting of training that is ``given`` for a model ``trained`` with another."""
    keys = TRAINING_OF_OURS if is_model(trained["model"]) else TRAINING
    for key in sorted(keys & set(given)):
        if same(given[key]) != same(trained.get(key)):
            raise InputError(f"{key}: {given[key]!r} has no effect: the model is trained already; leave it out")


def deciders(model: str, key: str) -> set[str]:
    """The settings on which it depends whether ``key`` is read."""
    return {name for need in rules(model).get(key, ()) for name in need.keys}


def refuse(model: str, values: Mapping[str, Any], usual: Mapping[str, Any], given: Iterable[str]) -> None:
    """Raise :class:`InputError` for the first of the ``given`` settings that is neither read nor as usual."""
    reasons = unread(model, values)
    for key in sorted(set(given) & set(reasons)):
        if same(values.get(key)) != same(usual.get(key)):
            raise InputError(f"{key}: {values.get(key)!r} has no effect: {reasons[key]}; leave it out")


def drop(model: str, base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings ``base`` of many runs that the one with ``own`` settings reads."""
    idle = unread(model, {**base, **own})
    return {key: value for key, value in base.items() if key not in idle}


def without_effect(config: Any) -> list[str]:
    """Names of the settings in ``config`` that its run does not read."""
    known = setting_keys.known_keys(config["model"])
    values = config.final_config_dict
    return sorted(key for key in unread(config["model"], values) if key in known and key in values)
