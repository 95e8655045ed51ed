"""Files whose content is checked by types: pydantic's models, and what is wrong with a file in one line.

A field's type says what a value may be: :class:`Number`, :class:`Listed`, :class:`OneOf`, or any type of pydantic with
:class:`Allowed`, which holds the words of the message. The JSON schemas in ``properties/schema/`` are made of the same
models. pydantic takes a tenth of a second to import, so a module that needs this one is imported where a file is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from recbole_mind.errors import InputError, nearest
from recbole_mind.util.json_text import same

_REFUSED = "refused"  # the kind of error whose message shows the value


class Specification(BaseModel):
    """What a file says; a key that it does not know is refused, and no value is converted in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], content: Any, where: str = "") -> Model:
    """The content of a file as a ``model``.

    Args:
        model: of the file.
        content: as YAML or JSON has it.
        where: what the message begins with, such as ``gate 'gate.yaml'``.

    Raises:
        InputError: a key is unknown or missing, or a value is not allowed. The message is of the first that is wrong.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        wrong = sorted(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")[0]
        raise InputError(": ".join(filter(None, (where, _words(model, wrong))))) from None


def refused(reason: str) -> PydanticCustomError:
    """The error for a validator to raise whose message is the field, the value as the file has it, and ``reason``."""
    return PydanticCustomError(_REFUSED, reason)  # type: ignore[arg-type, unused-ignore]


def _words(model: type[BaseModel], wrong: ErrorDetails) -> str:
    names = [str(part) for part in wrong["loc"] if isinstance(part, str) and part != "[key]"]  # no places in a list
    kind, reason = wrong["type"], wrong["msg"]
    if kind == "extra_forbidden":
        known = [field.alias or name for name, field in model.model_fields.items()]
        reason = f"unknown key '{names[-1]}'{nearest(names.pop(), known)}; allowed: {', '.join(known)}"
    elif kind == "missing":
        reason = "it is missing"
    elif kind == _REFUSED:
        reason = f"{wrong['input']!r} {reason}"
    elif kind == "value_error":
        error = wrong["ctx"]["error"]
        names = [] if isinstance(error, InputError) else names  # whose message is the whole line
        reason = str(error)
    else:
        reason = f"{wrong['input']!r} is not allowed: {reason}"
    return ": ".join([*names, reason])


# -- what a value may be --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Allowed:
    """What a value may be, in the words of the message about another one; a message about a part of it goes before."""

    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _told(self.words, handler(source))


@dataclass(frozen=True)
class Number:
    """A number within bounds: an ``int`` is whole, no truth value is a number, and none is infinite.

    Attributes:
        low, high: the bounds; ``low`` itself is allowed unless ``above``.
        text: whether it may be written as text, as on a command line, and a whole one as ``3.0``.
        noun: what it is called in the message.
    """

    low: float
    high: float = math.inf
    above: bool = False
    text: bool = False
    noun: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        whole = source is int
        bounds: dict[str, Any] = {"gt" if self.above else "ge": self.low, "strict": True}
        bounds |= {} if self.high == math.inf else {"le": self.high}
        noun = self.noun or ("a whole number" if whole else "a number")
        words = f"{noun} above {self.low}" if self.above else f"{noun}, at least {self.low}"
        words = words if self.high == math.inf else f"{noun} from {self.low} to {self.high}"
        number: CoreSchema = (
            core_schema.int_schema(**bounds) if whole else core_schema.float_schema(**bounds, allow_inf_nan=False)
        )
        if self.text:
            number = core_schema.no_info_before_validator_function(lambda value: _number(value, words), number)
        return _told(words, number)


@dataclass(frozen=True)
class Listed:
    """A list as a tuple in which nothing stands twice; where ``single``, a value by itself is a list of one."""

    words: str
    single: bool = True

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = core_schema.no_info_before_validator_function(_several if self.single else as_tuple, handler(source))
        return core_schema.no_info_after_validator_function(_distinct, _told(self.words, inner))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        several = handler(schema) | {"uniqueItems": True}
        return {"anyOf": [several["items"], several]} if self.single else several


@dataclass(frozen=True)
class OneOf:
    """One of some names."""

    names: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"enum": list(self.names)}

    def _check(self, value: Any) -> Any:
        if value in list(self.names):
            return value
        raise ValueError(f"'{value}' is unknown{nearest(value, self.names)}; allowed: {', '.join(self.names)}")


Whole = Annotated[int, Number(1, 2**32 - 1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[
    tuple[Seed, ...], Field(min_length=1), Listed("a list of whole numbers, each at least 0 and below 2**32")
]
Values = Annotated[tuple[Any, ...], Field(min_length=1), Listed("a list of values, at least one", single=False)]
Key = Annotated[str, Allowed("a name")]


def _told(words: str, inner: CoreSchema) -> CoreSchema:
    def check(value: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(value)
        except ValidationError as error:
            if any(each["type"] in (_REFUSED, "value_error") for each in error.errors(include_url=False)):
                raise
            raise refused(f"is not allowed; allowed: {words}") from None

    return core_schema.no_info_wrap_validator_function(check, inner)


def _number(value: Any, words: str) -> Any:
    """A number that stands as text; a whole one as such, for it may be 3.0."""
    if isinstance(value, str):
        try:
            value = float(value.strip().lower().replace(".inf", "inf"))
        except ValueError:
            raise refused(f"is not a number; allowed: {words}") from None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def as_tuple(value: Any) -> Any:
    """A list as a tuple, anything else as it is."""
    return tuple(value) if isinstance(value, list) else value


def _several(value: Any) -> Any:
    return as_tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len({same(value) for value in values}) < len(values):
        raise refused("names one twice")
    return values
