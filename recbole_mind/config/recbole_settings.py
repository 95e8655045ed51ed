"""What RecBole's own settings may be, told before anything is read: RecBole itself breaks on most of them later."""

from __future__ import annotations

import importlib.util
import itertools
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from recbole_mind.config.checks import choice, number
from recbole_mind.errors import InputError, nearest, require

_FIELDS = ("USER_ID_FIELD", "ITEM_ID_FIELD", "LABEL_FIELD", "ITEM_LIST_LENGTH_FIELD")  # a name each
_OPEN_FIELDS = ("TIME_FIELD", "RATING_FIELD")  # a name, or none
_TEXTS = ("field_separator", "seq_separator", "LIST_SUFFIX", "NEG_PREFIX", "learner", "state", "wandb_project")
_LISTS = (  # of names
    *("numerical_features", "normalize_field", "additional_feat_suffix", "benchmark_filename", "selected_features"),
    *("alias_of_user_id", "alias_of_item_id", "alias_of_entity_id", "alias_of_relation_id"),
)
_MAPPINGS = (
    *("load_col", "unload_col", "unused_col", "threshold", "val_interval", "seq_len", "preload_weight"),
    *("discretization", "clip_grad_norm"),
)
_PAIRS = {"clip_grad_norm": "{max_norm: 5}", "val_interval": "{rating: '[3,inf)'}", "threshold": "{rating: 4}"}
_COLUMNS = ("load_col", "unload_col", "unused_col")
_SPLITS = {"RS": "three ratios", "LS": "a rule", "TS": "three ratios", "US": "users"}
_LEFT_OUT = ("valid_and_test", "valid_only", "test_only")
_LOWEST = {
    **{"loss_decimal_place": 0, "worker": 0, "eval_step": 0},
    **{"MAX_ITEM_LIST_LENGTH": 1},
}
_SHARES = ("mask_ratio", "drop_ratio", "dropout_prob", "hidden_dropout_prob", "attn_dropout_prob")
_EVAL_KEYS = ("split", "order", "group_by", "mode")
_NEGATIVE_KEYS = ("distribution", "sample_num", "alpha", "dynamic", "candidate_num")
TEACHERS = ("CrossNet", "CIN")


def check(settings: dict[str, Any], ours: Collection[str] = ()) -> None:
    """Raise :class:`InputError` for a value that RecBole cannot use, whatever the model.

    Args:
        settings: all settings in force; a single name is made a list where RecBole takes a list.
        ours: keys that are judged elsewhere.
    """
    _check_kinds(settings)
    _check_numbers({key: value for key, value in settings.items() if key not in ours})
    _check_metrics(settings)
    _check_eval_args(settings["eval_args"])
    _check_modes(settings)
    teacher = settings.get("teacher", TEACHERS[0])  # of KD_DAGFM, which evaluates the text
    require(teacher in TEACHERS, f"teacher: {teacher!r} is not allowed; allowed: {', '.join(TEACHERS)}")
    wandb = settings.get("log_wandb") and importlib.util.find_spec("wandb") is None
    require(not wandb, "log_wandb: True needs the library wandb, which is not installed; pip install wandb")


def _refuse(key: str, value: object, allowed: str) -> InputError:
    return InputError(f"{key}: {value!r} is not allowed; allowed: {allowed}")


def _check_kinds(settings: dict[str, Any]) -> None:
    """Whether texts are texts, lists lists and mappings mappings."""
    ids = settings.get("USER_ID_FIELD"), settings.get("ITEM_ID_FIELD")
    tables = settings["MODEL_TYPE"].name in ("CONTEXT", "DECISIONTREE") and ids == (None, None)  # of clicks alone
    unnamed = (*_OPEN_FIELDS, *(("USER_ID_FIELD", "ITEM_ID_FIELD") if tables else ()))
    for key in (*_FIELDS, *_TEXTS, *_OPEN_FIELDS):
        value = settings.get(key, "usual")
        if not (isinstance(value, str) and value) and not (value is None and key in unnamed):
            raise _refuse(key, value, "a text" if key in _TEXTS else "a field's name")
    for key in _LISTS:
        value = settings.get(key)
        if isinstance(value, str):
            value = settings[key] = [value]
        if value is not None and not _names(value):
            raise _refuse(key, value, "a list of names")
    for key in _MAPPINGS:
        value = settings.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise _refuse(key, value, f"pairs such as {_PAIRS.get(key, '{name: value}')}, or ~")
    for key in _COLUMNS:
        for suffix, fields in (settings.get(key) or {}).items():
            if not (_names(fields) or (fields == "*" and key == "load_col")):
                raise _refuse(f"{key}: {suffix}", fields, "a list of field names")
    named = [key for key in _FIELDS if settings.get(key)]
    for key, other in itertools.combinations(named, 2):
        require(settings[key] != settings[other], f"{key}: '{settings[key]}' is what {other} names; name another field")
    if settings.get("normalize_all") not in (None, True, False):
        raise _refuse("normalize_all", settings["normalize_all"], "True, False, or ~")


def _check_numbers(settings: Mapping[str, Any]) -> None:
    """Numbers that RecBole takes as they are, and breaks on, or counts with, where they make no sense."""
    for key, low in _LOWEST.items():
        if not _whole(settings.get(key, low), low):
            raise _refuse(key, settings[key], f"a whole number, at least {low}")
    for key, value in settings.items():  # of the models: hidden_size, n_layers, num_heads
        low = 1 if key.endswith("_size") or re.fullmatch(r"(n|num)_heads", key) else 0
        sized = low == 1 or re.fullmatch(r"(n|num)_layers", key)
        if sized and isinstance(value, (int, float)) and not _whole(value, low):
            raise _refuse(key, value, f"a whole number, at least {low}")
        if key in _SHARES and isinstance(value, (int, float)):
            good = _number(value) and (0 < value <= 1 if key == "mask_ratio" else 0 <= value <= 1)
            if not good:
                raise _refuse(key, value, f"a number {'above' if key == 'mask_ratio' else 'from'} 0 to 1")
    for key, zero in (("weight_decay", True), ("tail_ratio", False)):
        value = settings.get(key)
        if value is not None and not (_number(value) and (value > 0 or (zero and value == 0))):
            raise _refuse(key, value, f"a number, {'at least' if zero else 'above'} 0")
    clip = settings.get("clip_grad_norm")
    good = clip is None or ("max_norm" in clip and set(clip) <= {"max_norm", "norm_type", "error_if_nonfinite"})
    if not good or (clip is not None and not (_number(clip["max_norm"]) and clip["max_norm"] > 0)):
        raise _refuse("clip_grad_norm", clip, "such as {max_norm: 5, norm_type: 2}, or ~")
    steps, every = settings.get("pretrain_epochs"), settings.get("save_step")
    if "pretrain" in str(settings.get("train_stage")) and isinstance(steps, int) and isinstance(every, int):
        require(steps >= every, f"pretrain_epochs: {steps} is less than save_step, {every}, so that nothing is saved")
    threshold = settings.get("threshold")
    if threshold is not None and not (len(threshold) == 1 and all(map(_number, threshold.values()))):
        raise _refuse("threshold", threshold, "one field with a number, such as {rating: 4}, or ~")


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _names(value: object) -> bool:
    return isinstance(value, (list, tuple, set)) and all(isinstance(name, str) for name in value)


def _whole(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _check_metrics(settings: dict[str, Any]) -> None:
    from recbole.evaluator.register import metric_types, metrics_dict

    given = settings["metrics"]
    listed = [given] if isinstance(given, str) else given
    if not _names(listed) or not listed:
        raise _refuse("metrics", given, "a list of RecBole's metrics, such as [Recall, NDCG]")
    names = [metric.__name__ for metric in metrics_dict.values()]
    for name in listed:
        known = name.lower() in metrics_dict
        require(known, f"metrics: '{name}' is unknown{nearest(name, names)}; allowed: {', '.join(names)}")
    ranking, values = ([n for n in listed if (metric_types[n.lower()].name == "RANKING") is r] for r in (True, False))
    require(
        not (ranking and values),
        f"metrics: {', '.join(values)} are of single rows and {', '.join(ranking)} of rankings; RecBole takes one "
        "kind at a time",
    )
    settings["metrics"] = listed
    topk = settings["topk"]
    many = [topk] if isinstance(topk, int) and not isinstance(topk, bool) else topk
    if not isinstance(many, list) or not many or not all(_whole(k, 1) for k in many):
        raise _refuse("topk", topk, "a whole number, at least 1, or a list of them")
    settings["topk"] = many
    if not isinstance(settings["valid_metric"], str):
        raise _refuse("valid_metric", settings["valid_metric"], f"such as {listed[0]}@{many[0]}")


def _check_eval_args(arguments: Any) -> None:
    """The keys and values of ``eval_args``, as far as RecBole's defaults do not stand in for them."""
    example = "{split: {LS: valid_and_test}, order: TO, group_by: user, mode: full}"
    if not isinstance(arguments, Mapping):
        raise _refuse("eval_args", arguments, f"such as {example}")
    for key in arguments:
        known = f"eval_args: unknown key '{key}'{nearest(key, _EVAL_KEYS)}; allowed: {', '.join(_EVAL_KEYS)}"
        require(key in _EVAL_KEYS, known)
    split = arguments.get("split", {"RS": [0.8, 0.1, 0.1]})
    if not isinstance(split, Mapping) or not split:
        raise _refuse("eval_args: split", split, "{RS: [0.8, 0.1, 0.1]}, {TS: ...}, {LS: ...}, {US: ...}, {LF: ...}")
    ours = "US" in split or "LF" in split  # which protocols.list_split judges
    for kind, how in split.items() if not ours else ():
        choice({"eval_args: split": kind}, "eval_args: split", _SPLITS)
        if kind in ("RS", "TS"):
            _check_ratios(kind, how)
        elif kind == "LS":
            choice({"eval_args: split LS": how}, "eval_args: split LS", _LEFT_OUT)
    several = f"eval_args: split names {', '.join(map(str, split))}; leave one of them"
    require(len(split) == 1 or ours, several)
    choice({"eval_args: order": arguments.get("order", "RO")}, "eval_args: order", ("RO", "TO"))
    group = str(arguments.get("group_by"))
    group = "none" if group.lower() == "none" else group
    choice({"eval_args: group_by": group}, "eval_args: group_by", ("user", "none"))


def _check_ratios(kind: str, ratios: Any) -> None:
    good = isinstance(ratios, (list, tuple)) and len(ratios) == 3
    good = good and all(_number(ratio) and ratio >= 0 for ratio in ratios)
    if not good or sum(ratios) <= 0 or (kind == "TS" and sum(ratios[:2]) <= 0):
        raise _refuse(f"eval_args: split {kind}", ratios, "three numbers, at least 0: training, validation, test")


def _check_modes(settings: Mapping[str, Any]) -> None:
    """How candidates are chosen, and whether the metrics can be made of them."""
    from recbole.evaluator.register import metric_types

    mode = settings["eval_args"].get("mode", "full")
    modes = mode if isinstance(mode, Mapping) else {"": mode}
    for phase in modes:
        choice({"eval_args: mode": phase or "test"}, "eval_args: mode", ("valid", "test"))
    for value in modes.values():
        known = isinstance(value, str) and re.fullmatch(r"full|labeled|(uni|pop)[1-9]\d*", value)
        require(bool(known), f"eval_args: mode: {value!r} is unknown; allowed: full, labeled, uni100, pop100")
    metrics, used = settings["metrics"], set(modes.values())
    ranking = metric_types[metrics[0].lower()].name == "RANKING"
    require(
        not (ranking and "labeled" in used),
        f"eval_args: mode 'labeled' scores the rows that are there and ranks nothing, so that {', '.join(metrics)} "
        "cannot be made of it; allowed with it: AUC, LogLoss, MAE, RMSE; with these metrics: full, uni100, pop100",
    )
    require(
        ranking or "full" not in used,
        f"eval_args: mode 'full' ranks the whole catalogue, which gives no {', '.join(metrics)}; allowed with these "
        "metrics: labeled, uni100, pop100",
    )


def check_learning(settings: dict[str, Any], given: Collection[str], model: str, *, sequential: bool) -> None:
    """Check, in place, the loss and the negatives of a model that is RecBole's."""
    _check_negatives(settings)
    if not sequential:
        return
    loss = settings.get("loss_type", "CE")
    from recbole.utils import get_model

    free = loss is None and hasattr(get_model(model), "input_type")  # whose loss is one
    require(free or loss in ("CE", "BPR"), f"loss_type: '{loss}' is unknown; allowed for {model}: CE, BPR")
    if settings.get("loss_type") == "CE" and "train_neg_sample_args" not in given:
        settings["train_neg_sample_args"] = None
    lacking = loss == "BPR" and settings.get("train_neg_sample_args") is None
    require(not lacking, "train_neg_sample_args: loss_type 'BPR' needs negatives; it must not be None")


def _check_negatives(settings: dict[str, Any]) -> None:
    key = "train_neg_sample_args"
    arguments = settings.get(key)
    if isinstance(arguments, str) and arguments.lower() == "none":
        arguments = settings[key] = None
    if arguments is None:
        return
    if not isinstance(arguments, Mapping):
        raise _refuse(key, arguments, "such as {distribution: uniform, sample_num: 1}, or ~")
    for name in arguments:
        require(name in _NEGATIVE_KEYS, f"{key}: unknown key '{name}'{nearest(name, _NEGATIVE_KEYS)}")
    distribution = arguments.get("distribution", "uniform")
    if distribution is None or str(distribution).lower() == "none":
        settings[key] = None
        return
    arguments = dict(arguments)
    choice({f"{key}: distribution": distribution}, f"{key}: distribution", ("uniform", "popularity"))
    for name, low, usual in (("sample_num", 1, 1), ("candidate_num", 0, 0)):
        if not _whole(arguments.get(name, usual), low):
            raise _refuse(f"{key}: {name}", arguments[name], f"a whole number, at least {low}")
    named = {f"{key}: alpha": arguments.get("alpha", 1.0)}
    number(named, f"{key}: alpha", "a finite number, at least 0", low=0, strict=False)
    if not isinstance(arguments.get("dynamic", False), bool):
        raise _refuse(f"{key}: dynamic", arguments["dynamic"], "True, False")
    dynamic = arguments.get("dynamic") and arguments.get("candidate_num", 0) < 1
    require(not dynamic, f"{key}: dynamic needs candidate_num, at least 1")
    settings[key] = arguments
