"""python -m keras_inception.cli, the same as keras-inception."""

from keras_inception.cli import run

run()
