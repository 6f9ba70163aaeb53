"""Images, boxes and masks: the values, the letterbox, decoders, and perception over engines."""
