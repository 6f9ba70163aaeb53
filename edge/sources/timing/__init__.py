"""When a frame is due, how old it is, and deadlines of what blocks."""
