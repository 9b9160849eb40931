"""keras-inception report: write a run's page anew."""

from __future__ import annotations

import argparse
import logging

HELP = "write the page of a run anew: data, training, answers, mistakes, exports"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("run_dir", help="a run folder")
    parser.add_argument(
        "--no_images",
        action="store_true",
        help="show none; the data set is then not needed",
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes report.html and prints its path."""
    from keras_inception.report import write_report

    print(write_report(arguments.run_dir, images=not arguments.no_images))


def renew(run_dir: str) -> None:
    """Writes a run's page anew after a command that left something in the folder, if it can."""
    from keras_inception.report import write_report

    try:
        print(f"Report: {write_report(run_dir)}")
    except ValueError as error:
        logging.warning("report.html in %s is as it was: %s", run_dir, error)
