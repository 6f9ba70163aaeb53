"""The families of foreign models that ``edge-export adopt`` takes, by the name for ``--family``."""

from __future__ import annotations

from engines.errors import ExportError, SettingsError
from export.adopt.families import (
    darknet,
    detr,
    end_to_end,
    nanodet,
    semantic,
    ultralytics,
    yolov5,
    yolox,
)
from export.adopt.families.base import Family, Hints, Plan
from export.adopt.foreign import ForeignNet

FAMILIES: dict[str, Family] = {
    "ultralytics": ultralytics.FAMILY,
    "end-to-end": end_to_end.FAMILY,
    "yolov5": yolov5.FAMILY,
    "yolox": yolox.FAMILY,
    "nanodet": nanodet.FAMILY,
    "detr": detr.FAMILY,
    "darknet": darknet.FAMILY,
    "semantic": semantic.FAMILY,
}


def recognise(net: ForeignNet, hints: Hints) -> Plan:
    """Find the family that ``net`` belongs to.

    Raises:
        ExportError: none or several, or the net contradicts itself.
        SettingsError: something must be said on the command line.
    """
    tried = {hints.family: FAMILIES[hints.family]} if hints.family else FAMILIES
    plans = [p for f in tried.values() if (p := f.recognise(net, hints)) is not None]
    if len(plans) == 1:
        _refuse_what_is_not_used(net, hints, plans[0])
        return plans[0]
    known = "; ".join(f"{name}: {family.summary}" for name, family in FAMILIES.items())
    found = f"{net.path}: input {net.height}x{net.width}, outputs {net.shapes()}"
    if plans:
        names = " or ".join(p.family for p in plans)
        raise ExportError(f"{found}: could be {names}. Say which: --family {plans[0].family}.")
    wanted = f"is no {hints.family} net" if hints.family else "belongs to no family known here"
    raise ExportError(f"{found}: {wanted}. Families: {known}.")


def _refuse_what_is_not_used(net: ForeignNet, hints: Hints, plan: Plan) -> None:
    if net.sizes is not None and plan.rows is None:
        raise ExportError(
            f"{net.path}: has 2 inputs, the image and {net.sizes.name} "
            f"{net.sizes.dtype}{list(net.sizes.shape)}, but is a net of the family {plan.family}, "
            "which takes the image alone. Export it so."
        )
    detection = plan.detection
    for option, value, used, family in (
        ("--mask", hints.masks, plan.masks, "semantic"),
        ("--anchors", hints.anchors, detection and detection.anchors, "darknet or yolov5, raw"),
        ("--scale-xy", hints.centre_scale, plan.family == "darknet", "darknet"),
    ):
        if value and not used:
            raise SettingsError(
                f"{net.path}: {option} is for nets of the family {family}, but this is one of "
                f"{plan.family} (outputs {net.shapes()}). Leave {option} out."
            )
