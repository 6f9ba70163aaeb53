"""The CUDA device: its context, its memory, captured runs and kernels; no engine, no model.

PyCUDA and cuda-python are imported inside the functions that open something.
"""
