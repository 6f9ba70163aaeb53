"""The picture on its way to the thread that sends it."""

from __future__ import annotations

import threading

import numpy as np

from edge.vision.newest import NewestPicture
from tests.edge.sink_values import picture


def test_the_newest_is_taken_once_and_older_ones_are_counted() -> None:
    place = NewestPicture()
    for number in range(3):
        place.put(picture((number, 0, 0)), number)
    taken = place.take()
    assert taken is not None
    assert (taken[0][0, 0, 0], taken[1], place.skipped) == (2, 2, 2)
    place.close()
    assert place.take() is None


def test_what_was_taken_stays_whole_while_others_are_put() -> None:
    place = NewestPicture()
    for number in range(10):
        place.put(picture((number, number, number)), number)
        taken = place.take()
        assert taken is not None
        place.put(picture((200, 200, 200)), 200)
        place.put(picture((100, 100, 100)), 100)
        assert np.unique(taken[0]).tolist() == [number]
        place.take()


def test_a_picture_is_copied_and_may_change_its_size() -> None:
    place, image = NewestPicture(), picture((1, 1, 1))
    place.put(image, 0)
    image[:] = 9
    taken = place.take()
    assert taken is not None
    assert taken[0].max() == 1
    place.put(picture((3, 3, 3), wh=(10, 4)), 1)
    taken = place.take()
    assert taken is not None
    assert taken[0].shape == (4, 10, 3)


def test_closing_wakes_who_waits() -> None:
    place, got = NewestPicture(), []
    thread = threading.Thread(target=lambda: got.append(place.take()))
    thread.start()
    place.close()
    thread.join(10)
    assert got == [None]
