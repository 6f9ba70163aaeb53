"""From an FP16 file to an engine that was proven on this GPU."""
