"""The ``edge-export`` command: names its subcommands; imports nothing heavy."""

from __future__ import annotations

import click

from edge.cli import LazyGroup, invoke
from edge.interrupt import Interrupt
from edge.logs import set_up_logs
from engines.files import cache_in_ours

EXTRA_OF = {"torch": "train"}
"""Packages that the app does without, and the extra of the distribution that installs them."""


class ExportGroup(LazyGroup):
    """Says what to install where a command needs a package that the app does without."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command.

        Raises:
            ExportError: it needs a package that is not installed.
        """
        try:
            return super().get_command(ctx, cmd_name)
        except ModuleNotFoundError as exc:
            if exc.name not in EXTRA_OF:
                raise
            # Imported only now: the packages bring NumPy, which --help can do without.
            from engines.errors import ExportError

            raise ExportError(
                f"{cmd_name} needs {exc.name}, which is not installed here. Install it from the "
                f"project's folder: pip install -e '.[{EXTRA_OF[exc.name]}]'"
            ) from exc


commands = ExportGroup(
    help="Outrider's models: train, export, adopt, evaluate, convert, verify, build.",
    table={
        "train": (
            "export.commands.train:train",
            "Train the street network, or one of the zoo, on streets or your own images.",
        ),
        "zoo": (
            "export.commands.train:zoo",
            "List the networks that can be trained: size, cost, how far they see.",
        ),
        "average": (
            "export.commands.average:average",
            "Average checkpoints that were trained on from the same one.",
        ),
        "onnx": (
            "export.commands.onnx:onnx",
            "Export a checkpoint to an ONNX file that the app runs.",
        ),
        "evaluate": (
            "export.commands.evaluate:evaluate",
            "Score a model file through the app's own path.",
        ),
        "camvid-boxes": (
            "export.commands.camvid_boxes:camvid_boxes",
            "Make boxes for a copy of CamVid out of its label maps.",
        ),
        "adopt": (
            "export.commands.adopt:adopt",
            "Turn a foreign ONNX into a file that the app runs.",
        ),
        "fp16": (
            "export.commands.precision:fp16",
            "Convert an FP32 model file to FP16, and prove it.",
        ),
        "int8": (
            "export.commands.precision:int8",
            "Quantise an FP32 model file to INT8, and prove it.",
        ),
        "verify": (
            "export.commands.verify:verify",
            "Compare two models, or prove one built engine on this GPU.",
        ),
        "check-tensorrt": (
            "export.commands.check_tensorrt:check_tensorrt",
            "Say whether TensorRT will take an ONNX file; no GPU is needed.",
        ),
        "build": (
            "export.commands.build:build",
            "Build a TensorRT engine of a model here, and prove it.",
        ),
        "ensure": (
            "export.commands.ensure:ensure",
            "Build the engines that a service's settings want and that do not fit.",
        ),
        "inspect": (
            "export.commands.inspect:inspect",
            "Say what a built engine is, and show its layers.",
        ),
    },
)


def main(interrupt: Interrupt | None = None) -> None:
    """The command, after ``export.start`` has begun to listen to signals."""
    set_up_logs(verbose=False, quiet=True)  # else Python prints warnings as they are
    cache_in_ours("MPLCONFIGDIR", "matplotlib")
    cache_in_ours("TORCHINDUCTOR_CACHE_DIR", "torch")
    invoke(commands, "edge-export", interrupt or Interrupt("edge-export"))
