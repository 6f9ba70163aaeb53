"""Networks, data, training, ONNX export, adoption, proofs and evaluation; never the running app."""
