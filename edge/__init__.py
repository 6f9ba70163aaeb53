"""The running app: sources, letterbox, pipeline, decoders, overlay, sinks, metrics, commands."""

from edge.pixels import bound_opencv

bound_opencv()  # here, as OpenCV may be imported anywhere below
