"""keras-inception train, the same as train_tpu.py: train, evaluate, export, check, report."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from keras_inception.cli import flags

HELP = "train a network, evaluate it, export it and check the exports (see train --help)"
# Of one meaning each; 0 is a run that ended with every check passed.
BAD_INPUT, DIVERGED, FAILED_CHECK, GO_ON_LATER, LOST_WORKER = 2, 3, 4, 75, 76


def main(argv: list[str]) -> int:
    """Trains, evaluates, exports and reports.

    Args:
        argv: The command line, with the program's name first.

    Returns:
        The exit code.
    """
    program = Path(argv[0]).name
    recipe, options = flags.parse(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is loaded

    from keras_inception import data, evaluation, export, report, training
    from keras_inception.runs import RunFolder

    try:
        if options.fresh:
            RunFolder(options.run_dir).delete()
        if options.deterministic:
            training.repeat_bit_for_bit()
        strategy = training.make_strategy(
            options.strategy,
            options.tpu,
            options.num_virtual_devices,
            options.workers,
            options.worker_index,
        )
        run = training.train(
            recipe,
            options.run_dir,
            strategy=strategy,
            download=options.download,
            steps_per_loop=options.steps_per_loop,
            xla=options.xla,
        )
        if not training.is_chief(strategy):
            return 0
        source = data.open_run(run)
        evaluation.evaluate_run(run.path, source)
        export.export_run(run.path, source)
        print(f"Report: {report.write_report(run.path, source)}")
    except training.Interrupted as stop:
        print(stop, file=sys.stderr)
        return GO_ON_LATER
    except training.NonFinite as error:
        print(f"{program}: {error}", file=sys.stderr)
        return DIVERGED
    except training.LostWorker as error:
        print(f"{program}: {error}", file=sys.stderr)
        return LOST_WORKER
    except export.ExportCheckError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return FAILED_CHECK
    except (ValueError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds nothing: `flags` has the arguments of this command."""
