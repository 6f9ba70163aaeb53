"""Pictures are found in whatever stands around them, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.sources.video.jpegs import JpegSplitter

# Smallest pictures by their markers: start, a segment of 4 bytes, coded data, end.
QUANT = b"\xff\xdb\x00\x04ab"
CODED = b"\xff\xda\x00\x03x" + b"\x01\xff\x00\x02\xff\xd0\x03"  # a stuffed FF and a restart
ONE = b"\xff\xd8" + QUANT + CODED + b"\xff\xd9"
TWO = b"\xff\xd8" + QUANT + CODED + b"\xff\xc4\x00\x03y" + CODED + b"\xff\xff\xd9"  # two scans
THUMB = b"\xff\xd8\xff\xe1" + (2 + len(ONE)).to_bytes(2, "big") + ONE + ONE[2:]  # one within


def split(pieces: list[bytes]) -> tuple[list[bytes], JpegSplitter]:
    splitter = JpegSplitter()
    return [picture for piece in pieces for picture in splitter.feed(piece)], splitter


@pytest.mark.parametrize(
    ("stream", "pictures"),
    [
        (b"", []),
        (b"no picture", []),
        (ONE, [ONE]),
        (ONE + TWO + THUMB, [ONE, TWO, THUMB]),
        (b"\r\n--x\r\nContent-Length: 7\r\n\r\n" + ONE + b"\r\n--x\n\n" + TWO, [ONE, TWO]),
        (b"\x00\xff\xd8" + ONE + b"\xff\xff\x00" + TWO, [ONE, TWO]),
        (CODED + b"\xff\xd9" + ONE, [ONE]),  # joined midway
        (ONE[:-2] + ONE, [ONE[:-2], ONE]),  # an end left out
        (ONE[:8] + ONE + TWO, [ONE, TWO]),  # breaks off in its head
        (ONE[:8] + b"junk" + TWO, [TWO]),
    ],
)
def test_pictures_come_out_whole_however_the_bytes_are_cut(
    stream: bytes, pictures: list[bytes]
) -> None:
    assert split([stream])[0] == pictures
    assert split([bytes([byte]) for byte in stream])[0] == pictures


@given(st.lists(st.sampled_from([ONE, TWO, THUMB, b"--x\r\n", b"\xff", b"\0"])), st.data())
def test_where_the_bytes_are_cut_changes_nothing(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    got, splitter = split(pieces)
    assert got == [part for part in parts if part in (ONE, TWO, THUMB)]
    assert splitter.rest() == b""


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_anything_may_stand_before_and_damage_costs_no_later_picture(a: bytes, b: bytes) -> None:
    whole, _ = split([ONE[:5] + a, b + b"\xff\xd9" * 3, bytes(1 << 17), ONE, ONE])
    assert whole[-1] == ONE


def test_the_picture_that_a_stream_ends_in_is_the_rest_and_then_gone() -> None:
    pictures, splitter = split([ONE + TWO[:-4]])
    assert pictures == [ONE]
    assert splitter.rest() == TWO[:-4]
    assert splitter.rest() == b""


def test_a_head_that_breaks_off_is_no_rest() -> None:
    assert split([ONE[:7]])[1].rest() == b""


def test_a_picture_without_an_end_is_given_up_before_memory_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge.sources.video.jpegs.MOST_BYTES", 1000)
    assert split([ONE[:-2], bytes(600), bytes(600), ONE])[0] == [ONE]
