"""Scores a model file through the app's own letterbox and decoders by one protocol; changes none.

Masks: one confusion matrix over all images at the labels' own size, unlabelled pixels ignored; the
mean is over all the data's classes, and one that the model does not know has 0.
Boxes: COCO AP at score 0.01 and more, crowds ignored, classes that the model does not know left
out; on CamVid the bicyclists are ignored for pedestrians. Recall, precision and what was taken for
what count at the model's own threshold; only the last shows bicyclists boxed as pedestrians.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from edge.progress import counted
from edge.proven.engine import proven_engine
from engines import open_engine
from engines.base import Precision
from engines.model_file import ModelFile, any_sha256
from export.data.class_map import class_map
from export.data.labelled import LabelledData
from export.score.frame_scorer import FrameScorer
from export.score.gallery import Gallery
from export.score.predictor import Predictor
from export.score.report import EvaluationReport


def evaluate_model(
    path: Path,
    data: LabelledData,
    *,
    renames: Mapping[str, str] | None = None,
    engine: str = "auto",
    precision: Precision = "f32",
    tiles: str = "1x1",
    adopt: Callable[[Path, str | None], ModelFile] | None = None,
    gallery: Gallery | None = None,
    progress: bool = False,
) -> EvaluationReport:
    """Score the model file at ``path``.

    ``renames`` maps names of the model's classes to the data's. ``adopt`` gives the file that runs
    for a foreign one, with the source of frames to prove it on. A ``gallery`` is filled with
    pictures of the worst frames, for which the model runs once more.

    Raises:
        ExportError: the data is broken, or the model knows none of its classes.
        ModelError: the file is refused.
        EngineError: the engine cannot run it.
        SettingsError: the engine or a name in ``renames`` is unknown.
    """
    frames = None if data.frames is None else str(data.frames)
    file = adopt(path, frames) if adopt else ModelFile(path)
    if adopt is not None:
        engine = proven_engine(file, engine, frames, foreign=file.path != path, precision=precision)
    opened = open_engine(file, engine=engine, precision=precision)
    try:
        classes = class_map(opened.spec, data, renames or {}, origin=str(path))
        predictor, scorer = Predictor(opened, tiles=tiles), FrameScorer(data, classes)
        numbers: Iterable[int] = range(data.count)
        for i in counted(numbers, "scoring", total=data.count) if progress else numbers:
            frame = data.load(i)
            predicted = predictor.predict(frame.image)
            predictor.check_finite()
            scorer.add(i, frame, predicted)
        latency = predictor.latency_ms()
        worst = scorer.worst()
        if gallery is not None:
            for kind, scores in worst.items():
                for score in scores:
                    frame = data.load(score.index)
                    predicted = predictor.predict(frame.image)
                    gallery.add(kind, score, frame, predicted, data, classes)
        detection = opened.spec.detection
        return EvaluationReport(
            model=path.name,
            model_sha256=any_sha256(path),
            engine=opened.name,
            precision=opened.precision,
            tiles=None if tiles == "1x1" else tiles,
            data=data.name,
            split=data.split,
            source=data.source,
            images=data.count,
            input_wh=(opened.spec.input.width, opened.spec.input.height),
            infer_ms_median=latency["infer"]["p50"],
            latency_ms=latency,
            conf=detection.conf if detection and classes.has_boxes else None,
            renamed=dict(classes.renamed) or None,
            worst=worst,
            left_out=data.left_out or None,
            **scorer.scores(),
        )
    finally:
        opened.close()
