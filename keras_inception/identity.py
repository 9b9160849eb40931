"""What a network is, as one record that travels with it: `attach` and `identity_of`.

A model, a weights file, a run folder and an export all carry this record, so that loading them
needs no guesses.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from keras_inception.preprocessing import Preprocessing

# Builder arguments that decide what a network computes with given weights: name -> types of its
# values. A list from JSON becomes a tuple. A test holds these tables against the signatures.
_EVERY_VARIANT: dict[str, tuple[type, ...]] = {
    "classifier_activation": (str, type(None)),
    "width_multiplier": (float, int),
    "batch_norm": (bool,),
    "bn_scale": (bool,),
    "bn_epsilon": (float, int),
}
_PADDED_AVERAGES: dict[str, tuple[type, ...]] = {"avg_pool_counts_padding": (bool,)}
_RESIDUALS: dict[str, tuple[type, ...]] = {"residual_scale": (float, int, tuple)}
BUILDER_ARGUMENTS: dict[str, dict[str, tuple[type, ...]]] = {
    "InceptionV1": {
        **_EVERY_VARIANT,
        "lrn": (bool,),
        "branch5x5": (int,),
        "last_pool": (int,),
        "symmetric_padding": (bool,),
        "adaptive_aux_pool": (bool,),
    },
    "BNInception": {
        **_EVERY_VARIANT,
        **_PADDED_AVERAGES,
        "separable_stem": (bool,),
        "widths": (str,),
        "symmetric_padding": (bool,),
        "symmetric_pool_padding": (bool,),
    },
    "InceptionV2": _EVERY_VARIANT,
    "InceptionV3": {**_EVERY_VARIANT, **_PADDED_AVERAGES, "last_pool": (str,)},
    "InceptionV4": {**_EVERY_VARIANT, **_PADDED_AVERAGES},
    "InceptionResNetV1": {
        **_EVERY_VARIANT,
        **_RESIDUALS,
        "embedding": (int, type(None)),
        "blocks": (tuple,),
    },
    "InceptionResNetV2": {
        **_EVERY_VARIANT,
        **_PADDED_AVERAGES,
        **_RESIDUALS,
        "paper": (bool,),
    },
}

# The largest number that a file may give for an argument, where that is not 100.
_LARGEST = {"embedding": 10_000}


def checked_arguments(variant: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Builder arguments that a file claims, held against what the variant's builder takes.

    Nothing is built. Lists, which JSON has for tuples, become tuples.

    Args:
        variant: Name of the builder; empty if it is not known, and then any builder's arguments
            pass.
        arguments: Name -> value.

    Raises:
        ValueError: the variant is unknown, or an argument has a name or a type that its builder
            does not take; the message names it.
    """
    if variant and variant not in BUILDER_ARGUMENTS:
        raise ValueError(
            f"The variants are {', '.join(BUILDER_ARGUMENTS)}. Received: variant={variant!r}"
        )
    tables = [BUILDER_ARGUMENTS[variant]] if variant else list(BUILDER_ARGUMENTS.values())
    checked = {}
    for name, value in arguments.items():
        value = tuple(value) if isinstance(value, list) else value
        types = {kind for table in tables for kind in table.get(name, ())}
        numbers = value if isinstance(value, tuple) else ()
        # bool is an int to isinstance, and tuples hold numbers only
        if type(value) not in types or any(type(n) not in (int, float) for n in numbers):
            raise ValueError(
                f"{variant or 'A builder'} takes the arguments "
                f"{', '.join(sorted({n for table in tables for n in table}))} from a file, each "
                f"with a value of its own type. Received: {name}={value!r}"
            )
        largest = _LARGEST.get(name, 100)
        sizes = [n for n in (numbers or (value,)) if isinstance(n, int | float)]
        if len(numbers) > 16 or not all(0 <= n <= largest for n in sizes):
            raise ValueError(
                f"`{name}` from a file should hold numbers from 0 to {largest}. "
                f"Received: {name}={value!r}"
            )
        checked[name] = value
    return checked


@dataclasses.dataclass(frozen=True)
class Identity:
    """Which builder made a network, with what, for which images and classes.

    Attributes:
        variant: Name of the builder, such as "InceptionV3".
        builder_arguments: (name, value) pairs, sorted by name: the builder's arguments that decide
            what is computed with given weights, defaults included, such as ("bn_epsilon", 0.001).
            `arguments` gives them as a dict.
        preprocessing: The contract of the model's input, with the model's own size.
        class_names: Names of the classes in the order of the outputs; empty if they are not known.
    """

    variant: str
    builder_arguments: tuple[tuple[str, Any], ...] = ()
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] = ()

    @classmethod
    def create(
        cls,
        variant: str,
        builder_arguments: Mapping[str, Any],
        preprocessing: Preprocessing | None = None,
        class_names: Sequence[str] = (),
    ) -> Identity:
        """The record from a dict of builder arguments.

        Raises:
            ValueError: the variant's builder takes no such argument or value.
        """
        pairs = tuple(sorted(checked_arguments(variant, builder_arguments).items()))
        return cls(variant, pairs, preprocessing, tuple(class_names))

    @property
    def arguments(self) -> dict[str, Any]:
        """The builder's arguments by name."""
        return dict(self.builder_arguments)

    def replace(self, **changes: Any) -> Identity:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_metadata(self) -> dict[str, str]:
        """The record as text by field, which the header of a safetensors file can hold."""
        contract = self.preprocessing.to_dict() if self.preprocessing else None
        return {
            "variant": self.variant,
            "builder_arguments": json.dumps(self.arguments),
            "preprocessing": json.dumps(contract),
            "class_names": json.dumps(list(self.class_names)),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Identity:
        """The record back from `to_metadata`'s form.

        Raises:
            ValueError: a field holds something else than `to_metadata` writes there.
        """
        contract = _parsed(metadata, "preprocessing", None, dict)
        names = _parsed(metadata, "class_names", [], list)
        if any(not isinstance(name, str) for name in names):
            raise ValueError("`class_names` in a file should be texts.")
        return cls.create(
            metadata.get("variant", ""),
            _parsed(metadata, "builder_arguments", {}, dict),
            Preprocessing.from_dict(contract) if contract else None,
            names,
        )


def _parsed(metadata: Mapping[str, str], field: str, default: Any, kind: type) -> Any:
    """A field's JSON. Raises ValueError if it is none, or of another kind."""
    if field not in metadata:
        return default
    try:
        value = json.loads(metadata[field])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"`{field}` in a file should be JSON: {error}") from error
    if value is not None and not isinstance(value, kind) or (value is None and default is not None):
        raise ValueError(
            f"`{field}` in a file should be a JSON {kind.__name__}. "
            f"Received: a {type(value).__name__}"
        )
    return value


def attach(model: Any, identity: Identity) -> Any:
    """Gives a model its identity, in place; the only function that does.

    Args:
        model: A `keras.Model`.
        identity: The record; `model.preprocessing` becomes its contract.

    Returns:
        The model.
    """
    model.identity = identity
    model.preprocessing = identity.preprocessing
    return model


def identity_of(model: Any) -> Identity | None:
    """The identity that `attach` gave a model, with `model.preprocessing` if that was changed."""
    identity = getattr(model, "identity", None)
    if not isinstance(identity, Identity):
        return None
    return identity.replace(preprocessing=getattr(model, "preprocessing", None))
