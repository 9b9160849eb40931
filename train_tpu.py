"""Train an Inception, evaluate it, export it, check the exports: one command, see --help."""

from __future__ import annotations

import os
import sys

from keras_inception.training import flags

# Of one meaning each; 0 is a run that ended with every check passed.
BAD_INPUT, DIVERGED, FAILED_CHECK, GO_ON_LATER, LOST_WORKER = 2, 3, 4, 75, 76


def main(argv: list[str]) -> int:
    """Runs the command line and returns its exit code."""
    recipe, options = flags.parse(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is loaded

    from keras_inception import evaluation, export, report, training

    try:
        if options.fresh:
            training.RunFolder(options.run_dir).delete()
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
        evaluation.evaluate_run(run.path)
        export.export_run(run.path)
        print(f"Report: {report.write_report(run.path)}")
    except training.Interrupted as stop:
        print(stop, file=sys.stderr)
        return GO_ON_LATER
    except training.NonFinite as error:
        print(f"train_tpu.py: {error}", file=sys.stderr)
        return DIVERGED
    except training.LostWorker as error:
        print(f"train_tpu.py: {error}", file=sys.stderr)
        return LOST_WORKER
    except export.ExportCheckError as error:
        print(f"train_tpu.py: {error}", file=sys.stderr)
        return FAILED_CHECK
    except (ValueError, OSError) as error:
        print(f"train_tpu.py: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
