"""Search spaces: which settings a sweep draws, from which distribution, and which of them apply.

Plain Python: neither RecBole nor hyperopt is needed to read or to check a space.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, RootModel, ValidationInfo, model_validator

from recbole_mind.config.loading import parse_value
from recbole_mind.config.specification import Allowed, Key, Specification, Values, as_tuple, read, refused
from recbole_mind.errors import InputError, nearest, require
from recbole_mind.util import files
from recbole_mind.util.json_text import same

CHOICE = "choice"
KINDS = (CHOICE, "uniform", "loguniform", "quniform", "qloguniform", "int")
_DIGITS = 6  # that a drawn number keeps, so that files stay readable


@dataclass(frozen=True)
class Parameter:
    """One setting that is drawn.

    Attributes:
        name: of the setting.
        kind: of :data:`KINDS`; those with ``log`` are uniform in the logarithm, those with ``q`` are rounded to
            multiples of a step, ``int`` draws whole numbers, both bounds included.
        values: what there is to choose from; else the bounds, ``(low, high)``, and the step where there is one.
        when: other settings and the values of theirs for which this one applies; all of them must hold.
    """

    name: str
    kind: str
    values: tuple[Any, ...]
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def size(self) -> int | None:
        """How many values it may have; ``None`` if that is no small number."""
        if self.kind == "int":
            return int(self.values[1]) - int(self.values[0]) + 1
        return len(self.values) if self.kind == CHOICE else None

    def every(self) -> Iterator[Any]:
        """Every value of a ``choice`` or an ``int``, in order."""
        yield from self.values if self.kind == CHOICE else range(self.values[0], self.values[1] + 1)

    def gives(self, value: Any) -> bool:
        """Whether ``value`` is one of a ``choice`` or of an ``int``, of which there may be too many to go through."""
        if self.kind == CHOICE:
            return same(value) in map(same, self.values)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and self.values[0] <= value <= self.values[1] and float(value).is_integer()

    def ends(self) -> tuple[Any, ...]:
        """Every choice, or the lowest and the highest value."""
        return self.values if self.kind == CHOICE else self.values[:2]

    @property
    def whole(self) -> bool:
        """Whether it draws whole numbers alone: RecBole takes no 24.0 for a size."""
        return self.kind == "int" or (len(self.values) > 2 and all(float(value).is_integer() for value in self.values))

    def some(self) -> tuple[Any, ...]:
        """Every choice, or of numbers the lowest, the next whole one and the highest."""
        return self.values if self.kind == CHOICE else (self.values[0], self.values[0] + 1, self.values[1])

    def decode(self, drawn: Any) -> Any:
        """The setting for what was drawn: a choice's place, or a number."""
        if self.kind == CHOICE:
            return self.values[int(drawn)]
        low, high = self.values[:2]
        number = float(f"{float(drawn):.{_DIGITS}g}")
        kind: Any = int if self.whole else float
        return min(max(kind(round(number) if self.whole else number), kind(low)), kind(high))

    def encode(self, value: Any) -> Any:
        """The inverse of :meth:`decode`."""
        return [same(item) for item in self.values].index(same(value)) if self.kind == CHOICE else value


@dataclass(frozen=True)
class Space:
    """Parameters, each after those that its conditions ask for.

    Attributes:
        parameters: what is drawn.
        fixed: settings that conditions ask for and that are not drawn: those of each model that is drawn, or of the one
            that is not.
    """

    parameters: tuple[Parameter, ...]
    fixed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""
        return tuple(parameter.name for parameter in self.parameters)

    def outside(self) -> set[str]:
        """Settings that conditions ask for and that are not drawn."""
        return {key for parameter in self.parameters for key in parameter.when} - set(self.names)

    def applies(self, parameter: Parameter, drawn: Mapping[str, Any]) -> bool:
        """Whether a parameter's conditions hold; one on a parameter that does not apply does not hold."""
        models = list(self.fixed)
        known = {**self.fixed.get(str(drawn.get("model", models[0] if len(models) == 1 else "")), {}), **drawn}
        return all(
            key in known and same(known[key]) in map(same, allowed)
            for key, allowed in parameter.when.items()
        )  # fmt: skip

    def prune(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Those of ``drawn`` that apply."""
        kept: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.name in drawn and self.applies(parameter, kept):
                kept[parameter.name] = drawn[parameter.name]
        return kept

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Each combination once, the last parameter varying fastest.

        Raises:
            InputError: a parameter has no finite list of values.
        """
        endless = [parameter for parameter in self.parameters if parameter.size is None]
        if endless:
            name, kind = endless[0].name, endless[0].kind
            raise InputError(f"algo: exhaustive cannot visit every value of '{name}'; allowed: choice, int, not {kind}")
        return self._extend({}, 0)

    def _extend(self, drawn: dict[str, Any], place: int) -> Iterator[dict[str, Any]]:
        if place == len(self.parameters):
            yield drawn
            return
        parameter = self.parameters[place]
        if not self.applies(parameter, drawn):
            yield from self._extend(drawn, place + 1)
            return
        for value in parameter.every():
            yield from self._extend({**drawn, parameter.name: value}, place + 1)

    def examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Points that hold each end of each parameter's values, for a check: the parameter's name and the point.

        A point sets that parameter and the ones that its conditions ask for, to the first values that let it apply.
        """
        by_name = {parameter.name: parameter for parameter in self.parameters}

        def asked(parameter: Parameter) -> dict[str, tuple[Any, ...]]:
            every: dict[str, tuple[Any, ...]] = {}
            for key, allowed in parameter.when.items():
                if key in by_name:
                    every |= asked(by_name[key]) | {key: allowed}
            return every

        for parameter in self.parameters:
            needs = asked(parameter)
            for end in parameter.ends():
                for values in itertools.product(*needs.values()):
                    point = self.prune({**dict(zip(needs, values, strict=True)), parameter.name: end})
                    if parameter.name in point:
                        yield parameter.name, point
                        break


def _ordered(bounds: tuple[float, ...], field: ValidationInfo) -> tuple[float, ...]:
    low, high, *step = bounds
    words = "allowed: [low, high, step]" if step else "allowed: [low, high]"
    if not all(map(math.isfinite, bounds)):
        raise refused(f"is not allowed: a bound is not finite; {words}")
    if low >= high:
        raise refused(f"is not allowed: the lower bound is not below the upper one; {words}")
    if low <= 0 and "log" in str(field.field_name):
        raise refused("is not allowed: its logarithm needs a lower bound above 0, a value, no exponent")
    if not all(0 < size <= high - low for size in step):
        raise refused(f"is not allowed: the step is not within the bounds; {words}")
    return bounds


def _choices(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value in values:
        if isinstance(value, Mapping) or (isinstance(value, float) and math.isnan(value)):
            raise ValueError(f"{value!r} is not allowed as a value")
    return values


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


_ABSENT: Any = None  # a distribution that a setting is not drawn from; null itself is no bounds
_TUPLE, _ORDER = BeforeValidator(as_tuple), AfterValidator(_ordered)
Bounds = Annotated[tuple[float, float], _TUPLE, Allowed("[low, high], numbers"), _ORDER]
Stepped = Annotated[tuple[float, float, float], _TUPLE, Allowed("[low, high, step], numbers"), _ORDER]
_Whole = Annotated[int, BeforeValidator(_whole)]
WholeBounds = Annotated[tuple[_Whole, _Whole], _TUPLE, Allowed("[low, high], whole numbers"), _ORDER]
Condition = Annotated[
    tuple[Any, ...],
    Field(min_length=1),
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else (value,), json_schema_input_type=Any),
]


class Distribution(Specification):
    """How a setting is drawn: from one distribution, and perhaps for some values of other settings alone."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [kind]} for kind in KINDS]})

    choice: Annotated[Values, AfterValidator(_choices)] = Field(_ABSENT, description="One of these values.")
    uniform: Bounds = Field(_ABSENT, description="Uniform between two bounds.")
    loguniform: Bounds = Field(_ABSENT, description="Uniform in the logarithm; the bounds are values, no exponents.")
    quniform: Stepped = Field(_ABSENT, description="Uniform between two bounds, rounded to multiples of a step.")
    qloguniform: Stepped = Field(_ABSENT, description="Uniform in the logarithm, rounded to multiples of a step.")
    whole: WholeBounds = Field(_ABSENT, alias="int", description="A whole number; both bounds are included.")
    when: Annotated[dict[str, Condition], Allowed("settings, each with a list of values")] = Field(
        {}, description="Other settings and the values of theirs for which this one is drawn; all of them must hold."
    )

    @model_validator(mode="before")
    @classmethod
    def _one(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not given:
            return None  # which is no distribution either
        kinds = [key for key in given if key != "when"]
        if len(kinds) != 1:
            raise ValueError(f"{len(kinds)} distributions; allowed: one of {', '.join(KINDS)}")
        if kinds[0] not in KINDS:
            hint = nearest(kinds[0], KINDS)
            raise ValueError(f"the distribution '{kinds[0]}' is unknown{hint}; allowed: {', '.join(KINDS)}")
        return given

    def parameter(self, name: str) -> Parameter:
        """The setting ``name`` as it is drawn."""
        (kind,) = self.model_fields_set - {"when"}
        return Parameter(name, type(self).model_fields[kind].alias or kind, getattr(self, kind), self.when)


_KINDS = Allowed("{choice: [...]}, {loguniform: [low, high]}, ..., and when: {setting: [values]}")


class Distributions(
    RootModel[Annotated[dict[Key, Annotated[Distribution, _KINDS]], Allowed("settings, each with its distribution")]]
):
    """The settings that are drawn, each with its distribution."""


def parse(content: Any) -> Space:
    """Check a space as a file states it: names with ``{kind: values}`` and perhaps ``when: {setting: [values]}``.

    Raises:
        InputError: it is empty, or a name, a distribution, a bound or a condition cannot be used.
    """
    parameters = [each.parameter(name) for name, each in read(Distributions, content, "space").root.items()]
    require(bool(parameters), "space: it is empty; allowed: one setting or more, such as K: {choice: [2, 4]}")
    by_name = {parameter.name: parameter for parameter in parameters}
    for parameter in parameters:
        for key, allowed in parameter.when.items():
            other = by_name.get(key)
            require(key != parameter.name, f"space: {key}: when: it depends on itself")
            if other is None:
                continue
            finite = f"space: {parameter.name}: when: '{key}' must be a choice or an int to be asked for"
            require(other.size is not None, finite)
            for value in allowed:
                message = f"space: {parameter.name}: when: {key}: {value!r} is never drawn for '{key}'"
                require(other.gives(value), message)
    parameters.sort(key=lambda each: each.name != "model")  # whose settings conditions may ask for
    return Space(tuple(_in_order(parameters)))


def _in_order(parameters: Iterable[Parameter]) -> list[Parameter]:
    """The parameters, each behind those that it asks for."""
    waiting, ordered = list(parameters), list[Parameter]()
    while waiting:
        names = {parameter.name for parameter in waiting}
        free = [parameter for parameter in waiting if not names & set(parameter.when)]
        require(bool(free), f"space: the conditions of {', '.join(sorted(names))} go in a circle")
        ordered += free
        waiting = [parameter for parameter in waiting if parameter not in free]
    return ordered


def read_text(path: str | Path) -> dict[str, Any]:
    """Read a ``hyper.test`` of RecBole, whose lines are ``name kind values``, as the content for :func:`parse`.

    ``loguniform -8,0`` are exponents of e there. Nothing is evaluated.

    Raises:
        InputError: the file is unreadable, or a line cannot be used.
    """
    lines = files.read_text(path, "space", 2**21).splitlines()
    content: dict[str, Any] = {}
    for number, line in enumerate(lines, 1):
        parts = line.split(maxsplit=2)
        if not parts or line.lstrip().startswith("#"):
            continue
        where = f"space '{path}': line {number}"
        require(len(parts) == 3, f"{where}: '{line.strip()}' is not allowed; allowed: name kind values")
        name, kind, text = parts
        require(name not in content, f"{where}: '{name}' is there twice")
        values = parse_value(text)
        if kind == CHOICE:
            values = list(values) if isinstance(values, (list, tuple)) else values
        else:
            values = [parse_value(value.strip()) for value in text.split(",")]
        if kind == "loguniform" and all(isinstance(value, (int, float)) for value in values):
            try:
                values = [math.exp(value) for value in values]
            except OverflowError:
                raise InputError(f"{where}: {kind} {text}: the bounds are exponents of e; {text} overflows") from None
        try:
            parse({name: {kind: values}})
        except InputError as error:
            raise InputError(f"{where}: {str(error).removeprefix('space: ')}") from None
        content[name] = {kind: values}
    return content
