"""What a trained network looks at, what its channels answer to, and how image sets differ in it."""

from keras_inception.explaining.cam import GradCAM, grad_cam
from keras_inception.explaining.distances import (
    Statistics,
    frechet_distance,
    inception_score,
    kernel_distance,
    read_statistics,
    save_statistics,
    statistics,
)
from keras_inception.explaining.dream import deep_dream, visualize
from keras_inception.explaining.explain import explain
from keras_inception.explaining.features import features, fid_features, fid_logits, nearest
from keras_inception.explaining.occlude import occlusion

__all__ = [
    "GradCAM",
    "Statistics",
    "deep_dream",
    "explain",
    "features",
    "fid_features",
    "fid_logits",
    "frechet_distance",
    "grad_cam",
    "inception_score",
    "kernel_distance",
    "nearest",
    "occlusion",
    "read_statistics",
    "save_statistics",
    "statistics",
    "visualize",
]
