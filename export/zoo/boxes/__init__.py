"""The networks that detection is taught with, from one object to Faster R-CNN."""
