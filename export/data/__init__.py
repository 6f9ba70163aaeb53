"""Images with their labels, boxes and classes, and frames of any source."""
