"""FP32 model files become strongly typed FP16 ones."""
