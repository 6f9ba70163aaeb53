"""Views: what is made of a batch of images, each time anew, before the network is shown it."""
