"""H.264 by GStreamer: an encoder that is no Jetson's in the place of a Jetson's."""

from __future__ import annotations

import io
import os
from fractions import Fraction

import numpy as np
import pytest

from edge.h264 import TIME_BASE
from edge.h264.fragments import fragment, head_of, sample_of
from edge.h264.gst import Element, GstEncoder
from edge.sources.video.media import av
from edge.vision.types import SQUARE
from engines.errors import SinkError
from tests.edge.gst_here import needs_gst
from tests.edge.h264.decoded import decoded
from tests.edge.sink_values import picture

X264ENC = "tune=zerolatency speed-preset=ultrafast threads=1 key-int-max={gop}"
GREY = picture((90, 90, 90))


def _encoder(
    wh: tuple[int, int] = (64, 48),
    *,
    before: str = "",
    properties: str = X264ENC,
    keyframe_s: float = 1.0,
    pixel_aspect: Fraction = SQUARE,
) -> GstEncoder:
    gst = needs_gst()
    if gst.Gst.ElementFactory.find("x264enc") is None:
        message = "no x264enc (apt install gstreamer1.0-plugins-ugly)"
        assert not os.environ.get("CI"), message
        pytest.skip(message)
    element = Element("x264enc", before, properties)
    return GstEncoder(
        wh, fps=25.0, keyframe_s=keyframe_s, pixel_aspect=pixel_aspect, element=element
    )


def test_a_stream_and_its_head_say_the_shape_of_pixels() -> None:
    encoder = _encoder(pixel_aspect=Fraction(16, 11))
    (packet,) = encoder.encode(GREY, 0)
    film = head_of(encoder).data + fragment([sample_of(packet)], 1, end=3600)
    for data in (film, bytes(packet)):
        with av.open(io.BytesIO(data)) as container:
            assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)
    encoder.close()


def test_each_picture_gives_its_packet_at_once_with_its_time() -> None:
    encoder = _encoder()
    for pts in (0, 3600, 7001, 90_000):
        (packet,) = encoder.encode(GREY, pts)
        assert (packet.pts, packet.dts, packet.time_base) == (pts, pts, TIME_BASE)
    assert encoder.flush() == []
    encoder.close()
    encoder.close()


# GStreamer pads rows to 4 bytes: in 64 columns there is nothing to pad, in 66 and 70 there is.
@pytest.mark.parametrize("wh", [(64, 48), (66, 50), (70, 34), (71, 49)])
@pytest.mark.parametrize("bgr", [(200, 40, 20), (10, 30, 220)])
def test_sizes_and_colours_survive(wh: tuple[int, int], bgr: tuple[int, int, int]) -> None:
    encoder = _encoder(wh)
    (packet,) = encoder.encode(picture(bgr, wh=wh), 0)
    (image,) = decoded(bytes(packet))
    assert image.shape == (wh[1] + wh[1] % 2, wh[0] + wh[0] % 2, 3)
    assert np.abs(image.astype(int) - np.array(bgr)).max() <= 8
    encoder.close()


def test_key_frames_come_first_when_asked_for_and_by_time() -> None:
    encoder = _encoder(keyframe_s=1.0)
    # 5 pictures a second where 25 were announced; the fourth is asked for, so 0.6 s is the last.
    packets = [encoder.encode(GREY, n * 18_000, key=n == 3)[0] for n in range(10)]
    assert [n for n, packet in enumerate(packets) if packet.is_keyframe] == [0, 3, 8]
    # Whoever joins there can decode it.
    assert len(decoded(bytes(packets[3]) + bytes(packets[4]))) == 2
    encoder.close()


def test_a_muxer_takes_its_packets() -> None:
    encoder = _encoder()
    output = io.BytesIO()
    with av.open(output, "w", format="mp4") as container:
        stream = encoder.stream_in(container)
        for number in range(10):
            for packet in encoder.encode(GREY, number * 3600):
                packet.stream = stream
                container.mux(packet)
    encoder.close()
    with av.open(io.BytesIO(output.getvalue()), "r") as file:
        assert [frame.time for frame in file.decode(video=0)] == [n / 25 for n in range(10)]


def test_an_encoder_that_holds_pictures_back_loses_none_and_is_not_waited_for() -> None:
    encoder = _encoder(properties="bframes=0 rc-lookahead=2 sync-lookahead=0 threads=1")
    counts, times = [], []
    for number in range(20):
        packets = encoder.encode(GREY, number * 3600)
        counts.append(len(packets))
        times += [packet.pts for packet in packets]
    assert 0 < counts.index(1) < 6
    assert set(counts[counts.index(1) :]) == {1}
    times += [packet.pts for packet in encoder.flush()]
    assert times == [number * 3600 for number in range(20)]
    encoder.close()


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def test_closing_ends_the_threads_of_the_element() -> None:
    before, counted = _threads(), []
    for _ in range(5):
        kept = [_encoder() for _ in range(8)]
        counted.append(_threads())
        for encoder in kept:
            encoder.close()
    # One each, and a few of GStreamer's own that come and go: 8 that stay would be 40 in the end.
    assert max(counted) <= before + 8 + 8, counted


def test_an_element_that_is_not_there_is_named() -> None:
    needs_gst()
    with pytest.raises(SinkError, match=r"GStreamer's nvnothing, 64x48: GStreamer has no such"):
        GstEncoder((64, 48), fps=25, keyframe_s=1, element=Element("nvnothing", "", ""))


def test_a_property_that_it_has_not_is_told() -> None:
    with pytest.raises(SinkError, match=r'no property "maxperf-enable" in element "x264enc"'):
        _encoder(properties="maxperf-enable=true")


def test_an_element_that_fails_at_once_is_told() -> None:
    with pytest.raises(SinkError, match=r"GStreamer's x264enc, 64x48: Failed after iterations"):
        _encoder(before="identity error-after=1")


def test_elements_that_do_not_fit_together_are_told() -> None:
    with pytest.raises(SinkError, match=r"GStreamer's x264enc, 64x48: could not link"):
        _encoder(before="capsfilter caps=video/x-raw,format=RGB")


def test_an_element_that_fails_later_is_told() -> None:
    encoder = _encoder(before="identity error-after=4")  # the first is of its trial
    for number in range(2):
        assert len(encoder.encode(GREY, number * 3600)) == 1
    with pytest.raises(SinkError, match="Failed after iterations as requested"):
        encoder.encode(GREY, 2 * 3600)
    encoder.close()


def test_an_element_that_gives_nothing_is_told() -> None:
    with pytest.raises(SinkError, match="it gave nothing for the first pictures"):
        _encoder(before="valve drop=true")
