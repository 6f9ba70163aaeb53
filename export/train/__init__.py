"""The street network and its training, up to the ONNX file."""
