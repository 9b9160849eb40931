"""What a network is, as one record that travels with it: `attach` and `identity_of`.

A model, a weights file, a run folder and an export all carry this record, so that loading them
needs no guesses.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from keras_inception import messages
from keras_inception.preprocessing import Preprocessing

# What a file may give for a builder's argument: a number up to this, or that many of them.
_LARGEST, _MOST = 10_000, 16
# What a network's outputs are: shares of one answer, or a yes or no for each class.
OUTPUTS = ("softmax", "sigmoid")
THRESHOLD = 0.5  # from which a class is named where nobody has chosen another threshold


def _plain(name: str, value: Any) -> Any:
    """A builder's argument as an identity holds it; lists, which JSON has for tuples, are tuples.

    Raises:
        ValueError: it is no text, no number of a usual size, and no short row of these numbers.
    """
    value = tuple(value) if isinstance(value, list) else value
    row = value if isinstance(value, tuple) else (value,)
    numbers = all(isinstance(n, int | float) and 0 <= n <= _LARGEST for n in row)
    if not (value is None or isinstance(value, str) or (numbers and len(row) <= _MOST)):
        raise ValueError(
            f"`{name}` of a builder should be a text or numbers from 0 to {_LARGEST} in a file. "
            f"Received: {name}={messages.shown(value)}"
        )
    return value


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
        output: "softmax" (an image has one class, and probabilities are 1 in sum) or "sigmoid"
            (each class has a probability of its own, and an image any number of them).
        thresholds: Of "sigmoid", the probability from which each class is named; empty if nobody
            has chosen them.
    """

    variant: str
    builder_arguments: tuple[tuple[str, Any], ...] = ()
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] = ()
    output: str = "softmax"
    thresholds: tuple[float, ...] = ()

    @classmethod
    def create(
        cls,
        variant: str,
        builder_arguments: Mapping[str, Any],
        preprocessing: Preprocessing | None = None,
        class_names: Sequence[str] = (),
    ) -> Identity:
        """The record from a dict of builder arguments.

        Their names and types are not checked here: `models.recognition` holds those of a file
        against the variant's builder before it builds anything.

        Raises:
            ValueError: a value is none that a file may give.
        """
        pairs = tuple(sorted((n, _plain(n, value)) for n, value in builder_arguments.items()))
        is_sigmoid = builder_arguments.get("classifier_activation") == "sigmoid"
        output = "sigmoid" if is_sigmoid else "softmax"
        return cls(variant, pairs, preprocessing, tuple(class_names), output)

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
        several = {"output": self.output, "thresholds": json.dumps(list(self.thresholds))}
        return {
            "variant": self.variant,
            "builder_arguments": json.dumps(self.arguments),
            "preprocessing": json.dumps(contract),
            "class_names": json.dumps(list(self.class_names)),
            **(several if self.output == "sigmoid" else {}),
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
        variant = metadata.get("variant", "")
        if not isinstance(variant, str):
            raise ValueError(f"`variant` in a file should be a text. Received: {variant!r:.80}")
        found = cls.create(
            variant,
            _parsed(metadata, "builder_arguments", {}, dict),
            Preprocessing.from_dict(contract) if contract else None,
            names,
        )
        return found.replace(**_output_in(metadata, found.output, len(names)))


def _output_in(metadata: Mapping[str, str], default: str, classes: int) -> dict[str, Any]:
    """The kind of output and the thresholds in a file.

    Raises:
        ValueError: the kind is unknown, or the thresholds are no share for each class.
    """
    output = metadata.get("output", default)
    if output not in OUTPUTS:
        raise ValueError(
            f"`output` in a file should be {' or '.join(OUTPUTS)}. "
            f"Received: {messages.shown(output)}"
        )
    thresholds = _parsed(metadata, "thresholds", [], list)
    shares = all(type(t) in (int, float) and 0 <= t <= 1 for t in thresholds)
    if not shares or (thresholds and len(thresholds) != classes):
        raise ValueError(
            f"`thresholds` in a file should be a number from 0 to 1 for each of its {classes} "
            f"classes. Received: {messages.shown(thresholds)}"
        )
    return {"output": output, "thresholds": tuple(map(float, thresholds))}


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
