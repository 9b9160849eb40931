"""Train an Inception, evaluate it, export it, check the exports: one command, see --help.

The same as `keras-inception train`.
"""

import sys

from keras_inception.cli.train import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
