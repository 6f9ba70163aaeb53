"""The TensorRT engine: built plans, their identity, and how they run."""
