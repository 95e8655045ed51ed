"""Which columns of a data set are read: those that the settings name, and a label where one is needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from recbole_mind.config.checks import by_window
from recbole_mind.config.model_names import is_ours
from recbole_mind.data import atomic_file
from recbole_mind.data.atomic_file import Format
from recbole_mind.errors import require

_IDS = {  # what each file must hold, by the setting that names it
    "inter": ("USER_ID_FIELD", "ITEM_ID_FIELD"),
    "user": ("USER_ID_FIELD",),
    "item": ("ITEM_ID_FIELD",),
    "link": ("ITEM_ID_FIELD", "ENTITY_ID_FIELD"),
    "kg": ("HEAD_ENTITY_ID_FIELD", "RELATION_ID_FIELD", "TAIL_ENTITY_ID_FIELD"),
}
_NAMING = (  # settings that name columns, in a list or as keys
    *("threshold", "val_interval", "normalize_field", "numerical_features", "selected_features", "discretization"),
    *("item_attribute", "RATING_FIELD", "LABEL_FIELD", "TIME_FIELD"),
)


def settle(settings: dict[str, Any], given: Collection[str], *, sequential: bool) -> None:
    """Have RecBole read the columns that the settings name, beside those of its own default ``load_col``.

    A ``load_col`` that the user gives stays as it is, and is refused where it leaves out an id.

    Args:
        settings: all settings in force, with the data set's folder as ``data_path``.
        given: the keys that the user set, against those that are defaults.
        sequential: whether the model reads histories, which are in the order of ``TIME_FIELD``.
    """
    _check_ids(settings)
    _load_named(settings, given, by_time=sequential or settings["eval_args"]["order"] == "TO" or by_window(settings))


def _load_named(settings: dict[str, Any], given: Collection[str], *, by_time: bool) -> None:
    columns = settings.get("load_col")
    if columns is None:
        return
    both = [suffix for suffix in settings.get("unload_col") or () if columns.get(suffix) not in (None, "*", [])]
    require(
        not both,
        f"unload_col: '{', '.join(both)}' is named by load_col too, {columns}; leave one out, or set load_col to ~",
    )
    if "load_col" in given:
        require("inter" in columns, f"load_col: {columns} names no column of the .inter file; allowed: also 'inter'")
        for key, field, suffix in _ids(settings, columns):
            require(
                field in columns[suffix],
                f"load_col: '{suffix}' lacks '{field}', which {key} names; allowed: also '{field}'",
            )
        return
    columns = settings["load_col"] = dict(columns)
    for _, field, suffix in _ids(settings, columns):
        _add(columns, suffix, [field])
    found = {suffix: fields_of(path, settings) for suffix, path in _paths(settings)}
    for field in _named(settings, given, by_time):
        if any(field in fields for fields in columns.values()):
            continue
        holding = [suffix for suffix, names in found.items() if field in names]
        for suffix in holding[:1]:
            _add(columns, suffix, [*filter(None, (settings[key] for key in _IDS[suffix])), field])


def _check_ids(settings: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` if the file of interactions has no column of users or of items."""
    (_, path), *_ = _paths(settings)
    kinds = fields_of(path, settings)
    tokens = ", ".join(field for field, kind in kinds.items() if kind == "token")
    for key in _IDS["inter"] if kinds else ():
        field = settings[key]
        if field is None:  # a table of clicks, which names neither
            continue
        require(field in kinds, f"{key}: '{field}' is no column of '{path}'; allowed: {tokens}")
        require(kinds[field] == "token", f"{key}: '{field}' is a {kinds[field]} in '{path}'; allowed: {tokens}")


def check_label(config: Any, dataset: Any) -> None:
    """Raise :class:`InputError` where there is neither negative nor label to learn from, or no label to judge by."""
    from recbole.data.dataloader import UserDataLoader
    from recbole.data.utils import get_dataloader

    field, name = config["LABEL_FIELD"], config["dataset"]
    drawn = config["train_neg_sample_args"]["distribution"] != "none"
    pairs = config["MODEL_INPUT_TYPE"].name == "PAIRWISE" and config["MODEL_TYPE"].name != "SEQUENTIAL"
    require(
        drawn or not pairs or get_dataloader(config, "train") is UserDataLoader,
        f"train_neg_sample_args: model '{config['model']}' learns pairs of a positive and a negative item; it must not "
        "be None",
    )
    if field in dataset.field2type:
        return
    remedy = f"LABEL_FIELD names a column of '{name}', threshold makes a label of one, such as threshold={{rating: 4}}"
    labeled = "labeled" in config["eval_args"]["mode"].values()
    require(
        not labeled,
        f"metrics: {', '.join(config['metrics'])} with eval_args mode 'labeled' need a label, and '{name}' has no "
        f"field '{field}'; {remedy}",
    )
    learns = config["MODEL_TYPE"].name in ("CONTEXT", "DECISIONTREE")
    require(
        drawn or not learns,
        f"model: '{config['model']}' learns a label, and '{name}' has no field '{field}'; {remedy}; "
        "train_neg_sample_args draws negatives instead",
    )


def check_features(config: Any, dataset: Any) -> None:
    """Raise :class:`InputError` where a model is to read features of items or users that it cannot embed."""
    if is_ours(config.model_class):
        for key, kind in (("item_features", "item"), ("user_features", "user")):
            if config[key]:
                _check_tokens(config, key, Path(config["data_path"]) / f"{config['dataset']}.{kind}")
    if "selected_features" not in config:
        return
    fields = config["selected_features"]
    known = {f: kind.value for f, kind in dataset.field2type.items() if dataset.item_feat is not None}
    known = {f: kind for f, kind in known.items() if f in dataset.item_feat and f != config["ITEM_ID_FIELD"]}
    numerical = config["numerical_features"] or []
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    allowed = ", ".join(known) or "none"
    require(
        bool(fields), f"selected_features: {fields} is not allowed; allowed: columns of '{path}'; read are: {allowed}"
    )
    for field in fields:
        require(field in known, f"selected_features: '{field}' is not read from '{path}'; read are: {allowed}")
        require(
            not known[field].startswith("float") or field in numerical,
            f"selected_features: '{field}' is a {known[field]} field, which is embedded only if numerical_features "
            f"names it too; allowed: also numerical_features=['{field}']",
        )


def _check_tokens(config: Any, key: str, path: Path) -> None:
    columns = fields_of(path, config.final_config_dict)
    known = [field for field, kind in columns.items() if kind in ("token", "token_seq")]
    allowed = ", ".join(known[1:]) or "none"  # behind the id, which can be one
    for field in config[key]:
        require(field in known, f"{key}: '{field}' is not a token or token_seq field of '{path}'; allowed: {allowed}")


def fields_of(path: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """The type of each column of a file; empty if it is not there.

    Raises:
        InputError: it cannot be read.
    """
    if not path.is_file():  # which reading the data tells
        return {}
    form = Format.of({"encoding": None, **settings})
    return {column.field: column.kind for column in atomic_file.columns(path, form)}


def _paths(settings: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    name, files = settings["dataset"], settings.get("benchmark_filename")
    part = f"{name}.{files[0]}" if files else name
    for suffix in ("inter", "user", "item"):
        yield suffix, Path(settings["data_path"]) / f"{part if suffix == 'inter' else name}.{suffix}"


def _ids(settings: Mapping[str, Any], columns: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The key, the field and the file of each id of the files of which some columns are read."""
    for suffix, keys in _IDS.items():
        for key in keys:
            if columns.get(suffix) and columns[suffix] != "*" and settings.get(key):
                yield key, settings[key], suffix


def _named(settings: Mapping[str, Any], given: Collection[str], by_time: bool) -> Iterable[str]:
    """The columns that the settings name, beside ids."""
    mode = settings["eval_args"]["mode"]
    labeled = "labeled" in mode.values()
    for key in _NAMING:
        value = settings.get(key)
        needed = {"TIME_FIELD": by_time, "LABEL_FIELD": labeled, "selected_features": True, "item_attribute": True}
        if needed.get(key) or key in given:
            yield from [value] if isinstance(value, str) else value or ()


def _add(columns: dict[str, Any], suffix: str, fields: Iterable[str]) -> None:
    present = list(columns.get(suffix) or [])
    columns[suffix] = present + [field for field in fields if field not in present]


def check_time(config: Any) -> None:
    """Raise :class:`InputError` if the data set's file has no time to order by: before it is read."""
    from recbole_mind.data import atomic_file  # by pandas, which serving does without

    path = Path(config["data_path"]) / f"{config['dataset']}.inter"
    fields = [column.field for column in atomic_file.columns(path, atomic_file.Format.of(config))]
    time, name = config["TIME_FIELD"], config["protocol"]
    by = "the split" if name is None else f"protocol '{name}'"
    require(time in fields, f"dataset: '{path}' has no field '{time}', and {by} orders by time; TIME_FIELD names it")
