"""Arrays in, arrays out: model specs and inference backends; nothing of boxes or threads."""
