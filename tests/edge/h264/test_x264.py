"""H.264 by libx264: a picture in, its packet out, and streams that any muxer and decoder takes."""

from __future__ import annotations

import io

import numpy as np
import psutil
import pytest

from edge.h264 import TIME_BASE, Encoder, open_encoder
from edge.sources.video.media import av
from tests.edge.h264.decoded import decoded
from tests.edge.sink_values import picture

SECOND = round(1 / TIME_BASE)
GREY = picture((90, 90, 90))


def _encoder(wh: tuple[int, int] = (64, 48), *, keyframe_s: float = 1.0) -> Encoder:
    return open_encoder(wh, fps=25.0, keyframe_s=keyframe_s)


def test_each_picture_gives_its_packet_at_once_with_its_time() -> None:
    encoder = _encoder()
    for pts in (0, 3600, 7000, 90_000):
        (packet,) = encoder.encode(GREY, pts)
        assert (packet.pts, packet.dts, packet.time_base) == (pts, pts, TIME_BASE)
        assert bytes(packet)[:3] in (b"\0\0\1", b"\0\0\0")  # a start code: Annex B
    assert encoder.flush() == []
    encoder.close()
    encoder.close()


def test_key_frames_come_first_when_asked_for_and_by_time_however_slow_the_pictures() -> None:
    encoder = _encoder(keyframe_s=1.0)
    # 5 pictures a second where 25 were announced; the fourth is asked for, so 0.6 s is the last.
    keys = [
        encoder.encode(GREY, number * SECOND // 5, key=number == 3)[0].is_keyframe
        for number in range(10)
    ]
    assert [number for number, key in enumerate(keys) if key] == [0, 3, 8]


def test_a_stream_can_be_joined_at_a_key_frame_that_was_asked_for() -> None:
    encoder = _encoder(keyframe_s=60)
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    for number in range(5):
        encoder.encode(noise, number * 3600)
    joined = [encoder.encode(picture((20, 200, 40)), 5 * 3600, key=True)[0]]
    joined += encoder.encode(picture((200, 40, 20)), 6 * 3600)
    first, second = decoded(encoder.extradata + b"".join(map(bytes, joined)))
    assert np.abs(first.astype(int) - (20, 200, 40)).max() <= 6
    assert np.abs(second.astype(int) - (200, 40, 20)).max() <= 6


def test_several_takers_mux_copies_of_the_same_packets() -> None:
    encoder = _encoder()
    packets = [packet for n in range(10) for packet in encoder.encode(GREY, n * 3600)]
    for form in ("mp4", "matroska", "mpegts"):
        output = io.BytesIO()
        with av.open(output, "w", format=form) as container:
            stream = encoder.stream_in(container)
            for packet in packets:
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.is_keyframe, copy.stream, copy.duration = packet.is_keyframe, stream, 3600
                container.mux(copy)
        with av.open(io.BytesIO(output.getvalue()), "r") as container:
            assert len(list(container.decode(video=0))) == 10, form
            assert container.streams.video[0].codec_context.width == 64
    assert [packet.pts for packet in packets] == [n * 3600 for n in range(10)]


@pytest.mark.parametrize(("wh", "got"), [((65, 49), (66, 50)), ((1, 1), (2, 2))])
def test_odd_sizes_have_their_last_row_and_column_twice(
    wh: tuple[int, int], got: tuple[int, int]
) -> None:
    encoder = _encoder(wh)
    assert encoder.wh == got
    packets = encoder.encode(picture((200, 200, 200), wh=wh), 0)
    (image,) = decoded(encoder.extradata + bytes(packets[0]))
    assert image.shape == (got[1], got[0], 3)
    assert image.min() >= 195  # no dark border


def test_a_picture_of_another_size_is_fitted() -> None:
    encoder = _encoder()
    (packet,) = encoder.encode(picture((255, 255, 255), wh=(32, 48)), 0)
    (image,) = decoded(encoder.extradata + bytes(packet))
    assert image[:, 20:44].min() > 230
    assert image[:, :12].max() < 25


def test_a_picture_larger_than_the_encoder_takes_is_made_smaller() -> None:
    encoder = _encoder((20_480, 10))
    assert encoder.wh == (16_384, 8)
    packets = encoder.encode(picture((20, 200, 40), wh=(20_480, 10)), 0)
    (image,) = decoded(encoder.extradata + b"".join(map(bytes, packets)))
    assert image.shape == (8, 16_384, 3)
    assert np.abs(image.astype(int) - (20, 200, 40)).max() <= 6


@pytest.mark.parametrize(("baseline", "profile_idc"), [(True, 66), (False, 100)])
def test_it_can_keep_to_what_every_receiver_decodes(baseline: bool, profile_idc: int) -> None:
    encoder = open_encoder((64, 48), fps=25.0, keyframe_s=1, baseline=baseline)
    assert encoder.extradata.index(b"\0\0\1\x67") >= 0
    assert encoder.extradata.partition(b"\0\0\1\x67")[2][0] == profile_idc


def test_a_closed_encoder_leaves_no_memory_behind() -> None:
    """A page opens one with each viewer that comes after a pause."""
    noise = np.random.default_rng(0).integers(0, 255, (540, 960, 3), np.uint8)
    process = psutil.Process()

    def use(times: int) -> int:
        for _ in range(times):
            encoder = _encoder((960, 540))
            encoder.encode(noise, 0)
            encoder.close()
        return process.memory_info().rss

    before = use(5)
    assert use(20) - before < 60e6  # 11 MB each where it is left to the collector
