"""Foreign ONNX files become files that the app runs, each with a proof."""
