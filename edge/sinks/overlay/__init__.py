"""The picture that window and mp4 show: boxes, masks, legend and readout."""
