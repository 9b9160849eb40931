"""Flags of training: a flag a recipe's field, and how to run it. TensorFlow is not needed."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, NoReturn

from absl.flags import argparse_flags

from keras_inception import recipes
from keras_inception.recipes import Recipe

_DESCRIPTION = """\
Trains an Inception, evaluates it on held-out images, exports it for servers (SavedModel) and
phones (.tflite), checks the exports against the trained model and writes a report. Without a flag:
the demo, minutes on a laptop. The same command goes on after Ctrl-C, SIGTERM or a crash.
"""


@dataclasses.dataclass(frozen=True)
class Options:
    """How a recipe is run: where, on what, from when."""

    run_dir: str
    fresh: bool
    strategy: str
    tpu: str
    num_virtual_devices: int
    workers: str
    worker_index: int
    steps_per_loop: int
    xla: bool
    deterministic: bool
    download: bool


class _Parser(argparse_flags.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line; argparse's own would print the usage of all flags before it."""
        self.exit(2, f"{self.prog}: {message} (--help lists the flags)\n")


def parser(program: str) -> argparse.ArgumentParser:
    """The parser of train_tpu.py and of keras-inception train."""
    parser = _Parser(
        prog=program,
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        inherited_absl_flags=None,
    )
    run = parser.add_argument_group("Run")
    run.add_argument(
        "--recipe",
        default="demo",
        metavar="NAME",
        help=f"where the other flags' defaults come from: {', '.join(recipes.RECIPES)} [demo]",
    )
    run.add_argument("--config", metavar="FILE", help="or from the config.json of an earlier run")
    run.add_argument("--run_dir", metavar="DIR", help="folder of the run [runs/<dataset>-<model>]")
    run.add_argument("--fresh", action="store_true", help="delete an earlier run in that folder")
    run.add_argument(
        "--download", action="store_true", help="let TFDS fetch a data set that is not prepared"
    )
    devices = parser.add_argument_group("Devices")
    devices.add_argument(
        "--strategy",
        default="auto",
        choices=("auto", "one_device", "mirrored", "multi_worker", "tpu"),
        help="tf.distribute strategy; auto takes what the machine has [auto]",
    )
    devices.add_argument(
        "--tpu", default="", metavar="NAME", help="local on a TPU VM, or a name [$TPU_NAME]"
    )
    devices.add_argument(
        "--num_virtual_devices",
        type=int,
        default=0,
        metavar="N",
        help="split the CPU, to try N replicas",
    )
    devices.add_argument(
        "--workers",
        default="",
        metavar="HOST:PORT,...",
        help="all workers of multi_worker, the same on each; or set TF_CONFIG",
    )
    devices.add_argument(
        "--worker_index", type=int, default=0, metavar="I", help="which of them this is [0]"
    )
    devices.add_argument(
        "--steps_per_loop",
        type=int,
        default=10,
        metavar="N",
        help="steps that the devices take before they answer [10]",
    )
    devices.add_argument(
        "--xla", action="store_true", help="compile each replica's forward and backward pass"
    )
    devices.add_argument(
        "--deterministic", action="store_true", help="repeat bit for bit, on one thread"
    )
    demo = recipes.named("demo")
    groups: dict[str, Any] = {}
    for field in dataclasses.fields(Recipe):
        meta = field.metadata
        group = groups.setdefault(meta["group"], None) or parser.add_argument_group(meta["group"])
        groups[meta["group"]] = group
        default = getattr(demo, field.name)
        kind = type(default)
        group.add_argument(
            f"--{field.name}",
            type=_boolean if kind is bool else kind,
            choices=meta["choices"],
            metavar=None if meta["choices"] else kind.__name__.upper(),
            help=f"{meta['help']} [{default}]".replace("%", "%%"),
        )
    return parser


def parse(argv: list[str]) -> tuple[Recipe, Options]:
    """The recipe and the options of a command line.

    Args:
        argv: As sys.argv, with the program's name first.

    Raises:
        SystemExit: --help (0), or a flag that is wrong (2, after one line on stderr).
    """
    command = parser(Path(argv[0]).name)
    flags = vars(command.parse_args(argv[1:]))
    try:
        recipe = (
            recipes.load(flags["config"]) if flags["config"] else recipes.named(flags["recipe"])
        )
        given = {
            field.name: flags[field.name]
            for field in dataclasses.fields(Recipe)
            if flags[field.name] is not None
        }
        recipe = recipe.replace(**given)
        recipe.check()
    except ValueError as error:
        command.error(str(error))
    data = Path(recipe.dataset.partition(":")[2] or recipe.dataset).name or "data"
    options = {f.name: flags[f.name] for f in dataclasses.fields(Options)}
    options["run_dir"] = flags["run_dir"] or f"runs/{data}-{recipe.model}"
    return recipe, Options(**options)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"should be true or false, not {text!r}")
    return text.lower() == "true"
