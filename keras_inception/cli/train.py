"""keras-inception train, the same as train_tpu.py: train, evaluate, export, check, report."""

from __future__ import annotations

import sys
from pathlib import Path

from keras_inception.cli import codes, flags, output
from keras_inception.cli.process import prepare_process, use_onednn
from keras_inception.options import Options
from keras_inception.recipes import Recipe

HELP = "train a network, evaluate it, export it and check the exports (see train --help)"


def main(argv: list[str]) -> int:
    """Trains, evaluates, exports and reports.

    Args:
        argv: The command line, with the program's name first.

    Returns:
        The exit code.
    """
    with output.escaped():
        return _main(argv)


def _main(argv: list[str]) -> int:
    program = Path(argv[0]).name
    recipe, options = flags.parse(argv)
    prepare_process()
    use_onednn()

    from keras_inception import exporting, training

    try:
        exporting.check_recipe(recipe)
        _run(recipe, options)
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


def _run(recipe: Recipe, options: Options) -> None:
    """The stages of the command, in a folder that is locked from the first to the last."""
    from keras_inception import evaluation, exporting, report, training
    from keras_inception.locks import FolderLock
    from keras_inception.runs import RunFolder

    with training.stop_at_once(), FolderLock(options.run_dir) as lock:
        if options.deterministic:
            training.repeat_bit_for_bit()
        strategy = training.make_strategy(
            options.strategy,
            options.tpu,
            options.num_virtual_devices,
            options.workers,
            options.worker_index,
        )
        opening = {
            "fresh": options.fresh,
            "keep_parts": options.keep_parts,
            "download": options.download,
        }
        source = training.open_bound(recipe, RunFolder(options.run_dir), **opening)
        run = training.train(
            recipe,
            options.run_dir,
            strategy=strategy,
            steps_per_loop=options.steps_per_loop,
            xla=options.xla,
            source=source,
            lock=lock,
            **opening,
        )
        if not training.is_chief(strategy):
            return
        with training.naming_lost_images(source, "test"):
            result = evaluation.evaluate(run.address, source=source)
            print(evaluation.table(result), flush=True)
            exporting.export_run(run.address, source)
            print(f"Report: {report.write_report(run.address, source)}")
