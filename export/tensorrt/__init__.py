"""What TensorRT takes, and engines built with it."""
