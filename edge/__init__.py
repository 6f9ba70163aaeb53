"""The running app: sources, letterbox, pipeline, decoders, overlay, sinks, metrics, commands."""
