"""keras-inception train, the same as train_tpu.py: train, evaluate, export, check, report."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from keras_inception.cli import codes, flags, output
from keras_inception.cli.process import prepare_process, use_onednn

HELP = "train a network, evaluate it, export it and check the exports (see train --help)"


@output.escaped()
def main(argv: list[str]) -> int:
    """Trains, evaluates, exports and reports.

    Args:
        argv: The command line, with the program's name first.

    Returns:
        The exit code.
    """
    program = Path(argv[0]).name
    recipe, options = flags.parse(argv)
    prepare_process()
    use_onednn()

    from keras_inception import complete_run, exporting, training

    try:
        complete_run.train(recipe=recipe, **dataclasses.asdict(options))
    except training.Ending as ending:
        shown = isinstance(ending, training.Interrupted)
        print(flags.with_flags(f"{ending}" if shown else f"{program}: {ending}"), file=sys.stderr)
        return codes.ENDINGS[type(ending).__name__]
    except exporting.ExportCheckError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return codes.FAILED_CHECK
    except (ValueError, OSError) as error:
        print(f"{program}: {flags.with_flags(str(error))}", file=sys.stderr)
        return codes.BAD_INPUT
    return 0
