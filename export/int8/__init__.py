"""FP32 model files become explicitly quantised INT8 ones."""
