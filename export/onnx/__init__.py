"""ONNX graphs: made plain, run in FP32, run as true half."""
