"""Settings as frozen dataclasses that check themselves. Nothing here imports Keras.

A setting is a field made by `setting`; its `Kind` says which values it takes. Checks,
command-line options and the JSON of a recipe all follow from the kinds.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from keras_multvae.checks import refused
from keras_multvae.typing import Json


class Kind:
    """What values a setting takes."""

    # The placeholder for a value in help texts.
    metavar: str | None = None
    choices: tuple[str, ...] | None = None

    def check(self, value: object) -> Any:
        """The value in canonical form; `ValueError` says what was expected."""
        raise NotImplementedError

    def parse(self, text: str) -> Any:
        """The value of a command-line option; raises as `check`."""
        raise NotImplementedError

    def to_json(self, value: object) -> Any:
        """A value as JSON."""
        return value

    def from_json(self, value: object) -> Any:
        """Reads what `to_json` wrote; the dataclass checks the value."""
        return value


def _of_numpy(name: str) -> tuple[Any, ...]:
    """A class of NumPy, if NumPy is imported; `--help` must not wait for it."""
    numpy = sys.modules.get("numpy")
    return () if numpy is None else (getattr(numpy, name),)


@dataclass(frozen=True)
class Number(Kind):
    """A finite int or float, or a NumPy scalar.

    Args:
        type: int or float.
        fits: Whether a finite number is in the range.
        words: The range in words, as in "an integer >= 1".
    """

    type: Callable[[Any], Any]
    fits: Callable[[Any], bool]
    words: str

    def check(self, value: Any) -> Any:
        """See `Kind`."""
        taken = (int, *_of_numpy("integer"))
        if self.type is not int:
            taken = (int, float, *_of_numpy("number"))
        number = isinstance(value, taken) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and self.fits(value)):
            raise ValueError(self.words)
        return self.type(value)

    def parse(self, text: str) -> Any:
        """See `Kind`."""
        try:
            return self.check(self.type(text))
        except ValueError:
            raise ValueError(self.words) from None


@dataclass(frozen=True)
class Optional(Kind):
    """None, or a value of another kind."""

    kind: Kind

    @property
    def choices(self) -> tuple[str, ...] | None:  # type: ignore[override]
        """See `Kind`."""
        return self.kind.choices

    def check(self, value: object) -> Any:
        """See `Kind`."""
        return None if value is None else self.kind.check(value)

    def parse(self, text: str) -> Any:
        """See `Kind`."""
        return self.kind.parse(text)


@dataclass(frozen=True)
class Flag(Kind):
    """True or False."""

    def check(self, value: object) -> Any:
        """See `Kind`."""
        if not isinstance(value, (bool, *_of_numpy("bool_"))):
            raise ValueError("True or False")
        return bool(value)


@dataclass(frozen=True)
class Choice(Kind):
    """One of some names.

    Args:
        choices: The names.
        base: Optional path "module:class" of a base class whose objects are also
            accepted; to be stored, they must be registered with Keras.
    """

    choices: tuple[str, ...]
    base: str | None = None

    def check(self, value: object) -> Any:
        """See `Kind`."""
        if isinstance(value, str) and value in self.choices:
            return value
        # Recognise an object by the names of its base classes, without importing Keras.
        names = {f"{each.__module__}:{each.__name__}" for each in type(value).__mro__}
        if self.base in names:
            return value
        kinds = f" or a {self.base.replace(':', '.')}" if self.base else ""
        raise ValueError(f"one of {', '.join(self.choices)}{kinds}")

    def parse(self, text: str) -> Any:
        """See `Kind`."""
        return self.check(text)

    def to_json(self, value: object) -> Any:
        """See `Kind`."""
        if isinstance(value, str):
            return value
        import keras

        return keras.saving.serialize_keras_object(value)

    def from_json(self, value: object) -> Any:
        """See `Kind`."""
        if not isinstance(value, Mapping):
            return value
        import keras

        return keras.saving.deserialize_keras_object(dict(value))


@dataclass(frozen=True)
class Sizes(Kind):
    """A tuple of ints >= 1."""

    metavar = "N,N,..."
    words = "a sequence of integers >= 1"

    def check(self, value: Any) -> Any:
        """See `Kind`."""
        several: tuple[Any, ...] = (Sequence, *_of_numpy("ndarray"))
        if isinstance(value, str) or not isinstance(value, several):
            raise ValueError(self.words)
        try:
            return tuple(POSITIVE_INT.check(size) for size in value)
        except ValueError:
            raise ValueError(self.words) from None

    def parse(self, text: str) -> Any:
        """See `Kind`: numbers separated by commas; an empty text for none."""
        try:
            return tuple(POSITIVE_INT.parse(n) for n in text.split(",") if n.strip())
        except ValueError:
            raise ValueError("integers >= 1 separated by commas") from None

    def to_json(self, value: Any) -> Any:
        """See `Kind`."""
        return list(value)


@dataclass(frozen=True)
class OneOf(Kind):
    """An object with settings of its own, or None.

    On the command line its class is chosen by name, and its settings are options.

    Args:
        classes: Settings classes by name; None under the name that means None.
        prefix: The prefix of their options' names.
    """

    classes: Mapping[str, type[Settings] | None]
    prefix: str = ""

    @property
    def choices(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names."""
        return tuple(self.classes)

    def check(self, value: object) -> Any:
        """See `Kind`."""
        if self.name_of(value) is None:
            known = (
                each.__name__ if each else "None" for each in self.classes.values()
            )
            raise ValueError(" or ".join(known))
        return value

    def option(self, name: str) -> str:
        """The option name of a setting of one of the classes."""
        return self.prefix + name

    def name_of(self, value: object) -> str | None:
        """The name of a value's class."""
        for name, each in self.classes.items():
            if (each is None and value is None) or (each and type(value) is each):
                return name
        return None

    def parse(self, text: str) -> Any:
        """See `Kind`: with the defaults of the class."""
        if text not in self.classes:
            raise ValueError(f"one of {', '.join(self.classes)}")
        chosen = self.classes[text]
        return None if chosen is None else chosen()

    def to_json(self, value: Any) -> Any:
        """See `Kind`."""
        if value is None:
            return None
        return {"type": self.name_of(value), **value.to_json()}

    def from_json(self, value: object) -> Any:
        """See `Kind`."""
        if value is None or not isinstance(value, Mapping):
            return value
        rest = dict(value)
        chosen = self.classes.get(str(rest.pop("type", None)))
        if chosen is None:
            raise ValueError(
                f"`type` must be one of {', '.join(self.classes)}. Received: {value!r}."
            )
        return chosen.from_json(rest)


POSITIVE_INT = Number(int, lambda n: n >= 1, "an integer >= 1")
NON_NEGATIVE_INT = Number(int, lambda n: n >= 0, "an integer >= 0")
INTEGER = Number(int, lambda n: True, "an integer")
POSITIVE = Number(float, lambda x: x > 0, "a finite number > 0")
NON_NEGATIVE = Number(float, lambda x: x >= 0, "a finite number >= 0")
SHARE = Number(float, lambda x: 0 <= x < 1, "a number in [0, 1)")
PART = Number(float, lambda x: 0 < x <= 1, "a number in (0, 1]")
LIKELIHOOD = Choice(
    ("multinomial", "gaussian", "logistic"), base="keras_multvae.losses:Likelihood"
)


def setting(default: object, kind: Kind, help: str, stored: str | None = None) -> Any:
    """A field of a `Settings` class.

    Args:
        default: Its default.
        kind: What values it takes.
        help: Its description in the help of the command line.
        stored: Its key in files, if it differs from its name.
    """
    metadata = {"kind": kind, "help": help, "stored": stored}
    return dataclasses.field(default=default, metadata=metadata)


def checked(name: str, value: object, kind: Kind) -> Any:
    """An argument in its canonical form, or a `ValueError` that names the argument."""
    try:
        return kind.check(value)
    except ValueError as error:
        raise refused(name, str(error), value) from None


def settings_of(cls: Any) -> list[dataclasses.Field[Any]]:
    """The fields of a `Settings` class that `setting` made."""
    return [field for field in fields(cls) if "kind" in field.metadata]


def key_of(field: dataclasses.Field[Any]) -> str:
    """The key of a setting in files."""
    return field.metadata["stored"] or field.name


@dataclass(frozen=True)
class Settings:
    """Base of frozen dataclasses whose fields are made by `setting`.

    Raises:
        ValueError: A value that its kind does not take.

    Example:

    >>> import numpy as np
    >>> @dataclass(frozen=True)
    ... class Width(Settings):
    ...     units: int = setting(600, POSITIVE_INT, "units of the layer")
    >>> Width(np.int64(8)).to_json()
    {'units': 8}
    >>> Width(0)
    Traceback (most recent call last):
    ValueError: `units` must be an integer >= 1. Received: units=0.
    """

    def __post_init__(self) -> None:
        for field in settings_of(self):
            value = checked(
                field.name, getattr(self, field.name), field.metadata["kind"]
            )
            object.__setattr__(self, field.name, value)

    def arguments(self) -> dict[str, Any]:
        """The settings by name."""
        return {field.name: getattr(self, field.name) for field in settings_of(self)}

    def to_json(self) -> Json:
        """The settings by the keys of files, as JSON has them."""
        return {
            key_of(field): field.metadata["kind"].to_json(getattr(self, field.name))
            for field in settings_of(self)
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Reads what `to_json` wrote; missing settings have their defaults.

        Raises:
            ValueError: An unknown setting, or a value out of range.
        """
        kinds = {field.name: field.metadata["kind"] for field in settings_of(cls)}
        names = {key_of(field): field.name for field in settings_of(cls)}
        values = {names.get(key, key): value for key, value in values.items()}
        unknown = [name for name in values if name not in kinds]
        if unknown:
            raise ValueError(
                f"{cls.__name__} has no setting {', '.join(map(repr, unknown))}; it "
                f"has {', '.join(kinds)}."
            )
        return cls(**{name: kinds[name].from_json(v) for name, v in values.items()})
