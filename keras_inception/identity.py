"""What a network is, as one record that travels with it: `attach` and `identity_of`.

A model, a weights file, a run folder and an export carry the same record, so that nothing that is
loaded again has to be guessed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from keras_inception.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class Identity:
    """Which builder made a network, with what, for which images and classes.

    Attributes:
        variant: Name of the builder, such as "InceptionV3".
        builder_arguments: (name, value) pairs, sorted by name: the builder's arguments that decide
            what is computed, such as ("bn_epsilon", 0.001). `arguments` gives them as a dict.
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
        """The record from a dict of builder arguments."""
        pairs = tuple(sorted(builder_arguments.items()))
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
        """The record back from `to_metadata`'s form."""
        contract = json.loads(metadata.get("preprocessing", "null"))
        return cls.create(
            metadata.get("variant", ""),
            json.loads(metadata.get("builder_arguments", "{}")),
            Preprocessing.from_dict(contract) if contract else None,
            json.loads(metadata.get("class_names", "[]")),
        )


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
