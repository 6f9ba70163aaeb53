"""GStreamer pipelines, a Jetson's CSI cameras among them."""
