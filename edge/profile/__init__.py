"""Where the time of a run goes, frame by frame; it looks on and moves no frame."""
