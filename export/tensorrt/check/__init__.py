"""Will TensorRT take this file? Reads graphs, builds nothing."""
