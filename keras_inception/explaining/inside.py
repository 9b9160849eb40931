"""The Keras network in whatever a caller names, and its parts."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import keras
import numpy as np

from keras_inception.backend import need_tensorflow
from keras_inception.models.measure import endpoints
from keras_inception.runtime import Classifier, load_classifier

# A map must have that many rows and columns to say where something is: those of the papers' inputs
# end in 7 or 8. On images of 64 pixels, InceptionV1's map of 4 x 4 points at the evidence no more
# often than chance (10 % of 48), the one of 8 x 8 in 42 %.
LEAST_MAP = 7


@dataclasses.dataclass(frozen=True)
class Inside:
    """A classifier that Keras runs, whose inside can be looked at.

    Attributes:
        classifier: What gives answers.
        model: The Keras model, with one input and one output.
    """

    classifier: Classifier
    model: keras.Model

    @classmethod
    def open(cls, source: Any) -> Inside:
        """The network of what `load_classifier` takes.

        Raises:
            ValueError: another engine than Keras runs it, or Keras runs on another backend.
        """
        need_tensorflow("keras_inception.explaining")
        classifier = load_classifier(source)
        model = getattr(classifier.engine, "model", None)
        if not isinstance(model, keras.Model):
            raise ValueError(
                "This needs a network's inside, which only Keras shows: give the run folder, the "
                f".keras file or the model. Received: a model for {classifier.engine.name}"
            )
        return cls(classifier, model)

    def fitted(self, image: Any) -> np.ndarray:
        """An image as the network sees it: float32 (height, width, channels) in 0..255."""
        from keras_inception.runtime.predict import pixels

        channels, decoding = self.classifier.input_shape[2], self.classifier.decoding
        return self.classifier.crop_and_resize(pixels(image, channels, decoding=decoding))

    def map_layer(self, layer: str | None = None) -> str:
        """The layer whose map is looked at: by default the last that still has places.

        The endpoints of the package's variants, or any layer with a 4-D output of another
        network. The last with at least 7 x 7 places, or the largest if there is none.

        Raises:
            ValueError: there is no such layer, or none with a map.
        """
        outputs = self.outputs
        ours = endpoints(self.model) if self.classifier.identity.variant else {}
        if layer is not None:
            if layer not in outputs:
                known = ours or outputs
                raise ValueError(
                    f"`layer` should name a layer of {self.model.name}, such as "
                    f"{', '.join(list(known)[-12:])}. Received: layer={layer!r}"
                )
            return layer
        maps = {
            name: tensor.shape
            for name, tensor in outputs.items()
            if len(tensor.shape) == 4 and (name in ours or not ours)
        }
        if not maps:
            raise ValueError(
                f"{self.model.name} has no layer with a map (height, width, channels)."
            )
        sides = {
            name: min(side or LEAST_MAP for side in shape[1:3]) for name, shape in maps.items()
        }
        large = [name for name, side in sides.items() if side >= LEAST_MAP]
        if large:
            return large[-1]
        return max(reversed(list(sides)), key=lambda name: sides[name])

    @functools.cached_property
    def outputs(self) -> dict[str, Any]:
        """The symbolic output of every step between image and answer, in order.

        Found from the end: a layer that two models share has an output in each.
        """
        found: dict[str, Any] = {}
        waiting = list(self.model.outputs)
        while waiting:
            tensor = waiting.pop()
            step, node, _ = tensor._keras_history
            if step.name not in found:
                found[step.name] = tensor
                waiting += step._inbound_nodes[node].input_tensors
        image = {t._keras_history.operation.name for t in self.model.inputs}
        order = [step.name for step in self.model.operations]
        return {name: found[name] for name in order if name in found and name not in image}

    def output_of(self, layer: str) -> Any:
        """The symbolic output of a layer or another step."""
        return self.outputs[self.map_layer(layer)]

    def logits(self) -> Any:
        """The symbolic input of the final softmax or sigmoids; the output if there are none."""
        output = self.model.outputs[0]
        last = output._keras_history.operation
        if isinstance(last, keras.layers.Softmax):
            return last._inbound_nodes[output._keras_history.node_index].input_tensors[0]
        turns = (keras.activations.softmax, keras.activations.sigmoid)
        if isinstance(last, keras.layers.Dense) and last.activation in turns:
            linear = keras.layers.Dense(
                last.units, use_bias=last.use_bias, dtype="float32", name=f"{last.name}_logits"
            )
            (x,) = last._inbound_nodes[output._keras_history.node_index].input_tensors
            logits = linear(x)
            linear.set_weights(last.get_weights())
            return logits
        return output


def target_of(classifier: Classifier, target: int | str | None, probabilities: np.ndarray) -> int:
    """The class that is asked about: a number, a name, or None for the best one.

    Raises:
        ValueError: the network has no such class.
    """
    if target is None:
        return int(probabilities.argmax())
    names = classifier.class_names
    if isinstance(target, str):
        if target in names:
            return names.index(target)
        if not target.isdecimal():
            close = [name for name in names if target.lower() in name.lower()][:3]
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"The network knows no class {target!r}.{hint}")
        target = int(target)
    if not 0 <= target < classifier.engine.classes:
        raise ValueError(
            f"`target` should be a class from 0 to {classifier.engine.classes - 1}, or its name. "
            f"Received: target={target}"
        )
    return int(target)
