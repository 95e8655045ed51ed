"""What the settings of our own models may be, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from recbole_mind.config.checks import choice, names, number
from recbole_mind.errors import InputError, nearest, require


def check_ours(settings: dict[str, Any], given: Iterable[str]) -> None:
    """Check and convert, in place, the merged settings of one of our models, and feed the loss.

    Args:
        settings: all settings in force.
        given: the keys that the user set, against those that are defaults.

    Raises:
        InputError: a value is out of its range, or the loss cannot be fed.
    """
    from recbole_mind.layers.losses import LOSSES, SAMPLED_FORMS
    from recbole_mind.layers.negative_sampling import PROPOSALS

    for key in ("embedding_size", "profile_embedding_size", "num_negatives", "MAX_ITEM_LIST_LENGTH", "horizon"):
        number(settings, key, "a whole number, at least 1", low=1, strict=False, whole=True)
    for key in ("temperature", "learning_rate", "initializer_range"):
        number(settings, key, "a finite number above 0", low=0, strict=True)
    number(settings, "dropout", "a number from 0 to below 1", low=0, strict=False)
    if settings["dropout"] >= 1:
        raise InputError(f"dropout: {settings['dropout']} is not allowed; allowed: a number from 0 to below 1")
    number(settings, "negative_alpha", "a finite number, at least 0", low=0, strict=False)
    choice(settings, "similarity", ("cosine", "dot"))
    names(settings, "item_features")
    names(settings, "user_features")
    widths = settings["relu_layers"] = settings["relu_layers"] or []
    good = isinstance(widths, (list, tuple)) and all(isinstance(w, int) and w > 0 for w in widths)
    require(good, f"relu_layers: {widths!r} is not allowed; allowed: a list of whole numbers, each at least 1")
    _check_interests(settings)
    _load_features(settings)
    loss = str(settings["loss_type"])
    settings["loss_type"] = {"ce": "CE", "full": "CE", "bpr": "BPR"}.get(loss.lower(), loss)
    choice(settings, "loss_type", LOSSES)
    choice(settings, "sampled_form", SAMPLED_FORMS)
    choice(settings, "negatives", PROPOSALS)
    _feed_loss(settings, set(given))
    _choose_updates(settings)


def _check_interests(settings: dict[str, Any]) -> None:
    """Check and convert, in place, what makes and weighs several interests: each model has some of the keys."""
    from recbole_mind.layers.attention import ATTENTION_FORMS
    from recbole_mind.layers.comirec_routing import ROUTING_MAPS
    from recbole_mind.layers.losses import NEGATIVE_INTEREST
    from recbole_mind.layers.recency import RECENCY
    from recbole_mind.layers.routing import ROUTING_INIT, ROUTING_SOFTMAX, WHOLE

    whole, above = "a whole number, at least 1", "a finite number above 0"
    share = f"a number, at least 0 and below {WHOLE}"
    numbers: dict[str, dict[str, Any]] = {
        "K": {"allowed": whole, "low": 1, "strict": False, "whole": True},
        "routing_iterations": {"allowed": whole, "low": 1, "strict": False, "whole": True},
        "attention_size": {"allowed": f"{whole}, or ~", "low": 1, "strict": False, "whole": True},
        "sigma": {"allowed": above, "low": 0, "strict": True},
        "routing_scale": {"allowed": f"{above}, or ~", "low": 0, "strict": True},
        "routing_regularization": {"allowed": "a finite number, at least 0", "low": 0, "strict": False},
        "whole_share": {"allowed": share, "low": 0, "strict": False},
        "p": {"allowed": "a number from 0 to inf", "low": 0, "strict": False},
    }
    for key, limits in numbers.items():
        if key in settings and not (settings[key] is None and key in ("attention_size", "routing_scale")):
            number(settings, key, **limits)
    choices = {
        "routing_softmax": ROUTING_SOFTMAX,
        "routing_init": ROUTING_INIT,
        "routing_maps": ROUTING_MAPS,
        "attention_form": ATTENTION_FORMS,
        "negative_interest": NEGATIVE_INTEREST,
    }
    for key, allowed in choices.items():
        if key in settings:
            choice(settings, key, allowed)
    if "recency" in settings:
        curves = RECENCY if "routing_init" in settings else RECENCY[:1]
        _check_share(settings, "recency", curves)
        _check_share(settings, "recency_start")
    asked = settings.get("whole_share", 0)
    require(asked < WHOLE, f"whole_share: {asked} is not allowed; allowed: {share}")
    for key in ("adaptive_K", "positions", "capsule_length", "recency_gaps"):
        good = isinstance(settings.get(key, True), bool)
        require(good, f"{key}: {settings.get(key)!r} is not allowed; allowed: True, False")


def _check_share(settings: dict[str, Any], key: str, words: tuple[str, ...] = ()) -> None:
    """Check and convert, in place, a number above 0 and at most 1, or one of ``words``."""
    if settings[key] in words:
        return
    allowed = ", or ".join(["a number above 0, at most 1", *words])
    number(settings, key, allowed, low=0, strict=True)
    require(settings[key] <= 1, f"{key}: {settings[key]} is not allowed; allowed: {allowed}")


def sampler_fed(settings: Any) -> bool:
    """Whether RecBole's sampler must draw negatives for the loss."""
    loss, negatives = settings["loss_type"], settings["negatives"]
    return bool(loss == "BPR" or (loss == "sampled" and negatives == "sampler"))


def _load_features(settings: dict[str, Any]) -> None:
    """Have RecBole load the configured features: it reads only the columns that ``load_col`` names."""
    if settings.get("load_col") is None:
        return
    columns = settings["load_col"] = dict(settings["load_col"])
    for kind in ("item", "user"):
        fields, present = settings[f"{kind}_features"], columns.get(kind)
        if fields and present != "*":
            present = list(present or []) or [settings[f"{kind.upper()}_ID_FIELD"]]
            columns[kind] = present + [field for field in fields if field not in present]


def _feed_loss(settings: dict[str, Any], given: set[str]) -> None:
    """Give RecBole's sampler what the loss asks of it; refuse what the settings cannot feed."""
    arguments = settings.get("train_neg_sample_args")
    loss, asked = settings["loss_type"], "train_neg_sample_args" in given
    off = arguments is None or (
        isinstance(arguments, dict) and str(arguments.get("distribution", "uniform")).lower() == "none"
    )
    if not sampler_fed(settings):
        require(
            off or not asked,
            f"train_neg_sample_args: loss_type '{loss}' draws no negatives from RecBole's sampler; leave it out, or "
            "choose loss_type BPR, or loss_type sampled with negatives sampler",
        )
        settings["train_neg_sample_args"] = None
        return
    name = "BPR" if loss == "BPR" else "sampled with negatives sampler"
    require(not (asked and off), f"loss_type: '{name}' needs negatives; train_neg_sample_args must not be None")
    arguments = {"distribution": "uniform", "sample_num": 1} if off else dict(arguments or {})
    allowed = {"distribution", "sample_num", "alpha", "dynamic", "candidate_num"}
    for key in arguments:
        require(key in allowed, f"train_neg_sample_args: unknown key '{key}'{nearest(key, allowed)}")
    arguments.setdefault("distribution", "uniform")
    choice(arguments, "distribution", ("uniform", "popularity"))
    for key, usual in (("alpha", 1.0), ("candidate_num", 0)):
        arguments.setdefault(key, usual)
        number(arguments, key, "a finite number, at least 0", low=0, strict=False, whole=key == "candidate_num")
    dynamic = bool(arguments.get("dynamic"))
    name = "train_neg_sample_args"
    require(not dynamic or loss == "BPR", f"{name}: dynamic negatives have no known log Q; use loss_type BPR")
    require(not dynamic or arguments["candidate_num"] > 0, f"{name}: dynamic needs candidate_num, at least 1")
    arguments.setdefault("sample_num", 1)
    number(arguments, "sample_num", "a whole number, at least 1", low=1, strict=False, whole=True)
    settings["train_neg_sample_args"] = arguments


def _choose_updates(settings: dict[str, Any]) -> None:
    """Decide ``sparse_updates``: whether the optimizer moves only the rows of tables that a step uses."""
    hindrances = [
        (settings["loss_type"] == "CE", "loss_type CE gives every item a gradient"),
        (settings["learner"].lower() != "adam", f"learner {settings['learner']} moves every row"),
        (bool(settings["weight_decay"]), "weight_decay moves every row"),
        ((settings["train_neg_sample_args"] or {}).get("dynamic"), "dynamic negatives are ranked with any row"),
    ]
    asked, found = settings["sparse_updates"], [why for hinders, why in hindrances if hinders]
    known = asked == "auto" or isinstance(asked, bool)
    require(known, f"sparse_updates: {asked!r} is not allowed; allowed: auto, True, False")
    require(not (asked is True and found), f"sparse_updates: True is not allowed: {'; '.join(found)}; use auto")
    settings["sparse_updates"] = not found if asked == "auto" else asked
    require(
        not settings["enable_scaler"],
        "enable_scaler: True is not allowed: mixed precision is bfloat16 here, which needs no scaling; allowed: False",
    )
