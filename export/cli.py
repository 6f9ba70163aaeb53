"""The ``edge-export`` command: names its subcommands; imports nothing heavy."""

from __future__ import annotations

from edge.cli import LazyGroup, invoke

commands = LazyGroup(
    help="Outrider's models: train, export, adopt, evaluate.",
    table={
        "train": (
            "export.train:train",
            "Train the street network on CamVid and the synthetic street.",
        ),
        "onnx": (
            "export.onnx_file:onnx_command",
            "Export a checkpoint to an ONNX file that the app runs.",
        ),
        "evaluate": ("export.evaluate:evaluate", "Score a model file through the app's own path."),
        "adopt": ("export.adopt:adopt", "Turn a foreign ONNX into a file that the app runs."),
    },
)


def main() -> None:
    """Entry point of the console script ``edge-export``."""
    invoke(commands, "edge-export")
