"""The ten object classes of `shapes`: each a composition of signed distances with its own variation.

A class is a function (x, y, vary) -> layers. Coordinates are local: the object is about two units long, y
points down. `vary(low, high)` gives the instance's next shape parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from datasets.drawing.primitives import (
    Array,
    box,
    circle,
    ellipse,
    intersection,
    norm,
    polygon,
    polyline,
    ring,
    segment,
    union,
)

BODY, ACCENT, DETAIL, DARK = range(4)
"""Roles of a layer's colour. All four are drawn from the same distribution for every class."""


@dataclass(frozen=True)
class Layer:
    """A part of an object: `distance` (H, W) in local units, negative inside; `role` picks its colour."""

    distance: Array
    role: int


class Variation:
    """An instance's shape parameters: the same values each time the instance is drawn."""

    def __init__(self, values: Array) -> None:
        self._values = iter(values.tolist())

    def __call__(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._values)


Drawing = Callable[[Array, Array, Variation], list[Layer]]


def aeroplane(x: Array, y: Array, vary: Variation) -> list[Layer]:
    """Seen from above, nose to the right."""
    thick, sweep, span = vary(0.16, 0.21), vary(0.15, 0.5), vary(0.7, 0.95)
    root, chord = vary(0.15, 0.35), vary(0.4, 0.56)
    mirrored = np.abs(y)
    wings = polygon(
        x,
        mirrored,
        [(root, -0.1), (root - sweep, span), (root - sweep - chord * 0.45, span), (root - chord, -0.1)],
    )
    tail_span = vary(0.3, 0.42)
    tail = polygon(x, mirrored, [(-0.68, -0.1), (-0.86, tail_span), (-1.02, tail_span), (-0.95, -0.1)])
    fuselage = union(
        ellipse(x, y, (0.55, 0.0), (0.48, thick)),
        polygon(x, mirrored, [(0.6, -0.1), (0.6, thick), (-1.05, 0.04), (-1.05, -0.1)]),
    )
    engine_at = vary(0.3, 0.5)
    engine_x = root - sweep * engine_at / span
    engines = box(x, mirrored, (engine_x, engine_at), (0.13, 0.06), 0.05)
    cockpit = intersection(ellipse(x, y, (0.82, 0.0), (0.1, thick * 0.6)), fuselage)
    return [
        Layer(engines, DARK),
        Layer(wings, ACCENT),
        Layer(tail, ACCENT),
        Layer(fuselage, BODY),
        Layer(cockpit, DETAIL),
    ]


def bicycle(x: Array, y: Array, vary: Variation) -> list[Layer]:
    """The thin-structured class: two rings and a frame of tubes."""
    radius, width, apart = vary(0.38, 0.46), vary(0.065, 0.085), vary(0.54, 0.62)
    axle = 0.25
    seat, head = (vary(-0.28, -0.18), vary(-0.32, -0.2)), (vary(0.32, 0.42), vary(-0.4, -0.28))
    crank = (vary(-0.12, -0.02), axle + 0.03)
    rear, front = (-apart, axle), (apart, axle)
    wheels = union(ring(x, y, rear, radius, width), ring(x, y, front, radius, width))
    frame = union(
        segment(x, y, rear, crank, width),
        segment(x, y, rear, seat, width),
        segment(x, y, crank, seat, width),
        segment(x, y, crank, head, width),
        segment(x, y, seat, head, width),
        segment(x, y, front, head, width),
    )
    bar = polyline(
        x, y, [head, (head[0] - 0.04, head[1] - 0.2), (head[0] + vary(0.1, 0.22), head[1] - 0.24)], width
    )
    saddle = segment(x, y, (seat[0] - 0.16, seat[1] - 0.12), (seat[0] + 0.1, seat[1] - 0.12), width * 1.6)
    post = segment(x, y, seat, (seat[0] - 0.03, seat[1] - 0.12), width)
    hubs = union(circle(x, y, rear, 0.07), circle(x, y, front, 0.07), circle(x, y, crank, 0.1))
    return [
        Layer(wheels, DARK),
        Layer(union(frame, post), BODY),
        Layer(union(bar, saddle), DETAIL),
        Layer(hubs, ACCENT),
    ]


def boat(x: Array, y: Array, vary: Variation) -> list[Layer]:
    """A sailing boat, or a steamer; it floats at y = 0.4."""
    bow, deck = vary(0.85, 1.05), vary(0.12, 0.2)
    hull = polygon(x, y, [(-0.95, deck), (bow, deck - 0.06), (vary(0.55, 0.75), 0.52), (-0.75, 0.52)])
    stripe = intersection(hull, box(x, y, (0.0, deck + 0.1), (1.2, 0.035)))
    if vary(0.0, 1.0) < 0.65:
        top, mast_x = vary(-1.15, -0.9), vary(-0.15, 0.1)
        mast = segment(x, y, (mast_x, top), (mast_x, deck), 0.03)
        main = polygon(x, y, [(mast_x - 0.06, top + 0.08), (mast_x - 0.06, 0.02), (vary(-0.85, -0.65), 0.02)])
        jib = polygon(
            x, y, [(mast_x + 0.06, top + vary(0.1, 0.3)), (mast_x + 0.06, 0.04), (vary(0.55, 0.8), 0.04)]
        )
        return [
            Layer(mast, DARK),
            Layer(main, DETAIL),
            Layer(jib, ACCENT),
            Layer(hull, BODY),
            Layer(stripe, DETAIL),
        ]
    left, right, roof = vary(-0.7, -0.5), vary(0.15, 0.4), vary(-0.3, -0.15)
    middle = (left + right) / 2
    cabin = box(x, y, (middle, (roof + deck) / 2), ((right - left) / 2, (deck - roof) / 2 + 0.04))
    bridge = box(x, y, (middle + 0.1, roof - 0.1), (0.2, 0.14))
    funnel = box(x, y, (left + 0.18, roof - 0.25), (0.1, 0.3))
    band = box(x, y, (left + 0.18, roof - 0.4), (0.1, 0.06))
    ports = norm((x - left) % 0.22 - 0.11, y - (roof + deck) / 2) - 0.06
    windows = intersection(ports, box(x, y, (middle, 0.0), ((right - left) / 2 - 0.04, 0.4)), cabin)
    return [
        Layer(funnel, ACCENT),
        Layer(band, DARK),
        Layer(bridge, DETAIL),
        Layer(cabin, ACCENT),
        Layer(windows, DARK),
        Layer(hull, BODY),
        Layer(stripe, DETAIL),
    ]


def bottle(x: Array, y: Array, vary: Variation) -> list[Layer]:
    half, neck, shoulder = vary(0.27, 0.38), vary(0.09, 0.13), vary(-0.3, -0.05)
    rim = shoulder - vary(0.22, 0.34)
    body = box(x, y, (0.0, (shoulder + 1.0) / 2), (half, (1.0 - shoulder) / 2), 0.07)
    slope = polygon(x, y, [(-half, shoulder + 0.08), (-neck, rim), (neck, rim), (half, shoulder + 0.08)])
    throat = box(x, y, (0.0, (rim - 0.85) / 2), (neck, (rim + 0.85) / 2 + 0.05))
    cap = box(x, y, (0.0, -0.9), (neck + 0.04, vary(0.08, 0.13)), 0.03)
    label_y, label_half = vary(0.3, 0.5), vary(0.16, 0.28)
    label = intersection(box(x, y, (0.0, label_y), (half - 0.02, label_half)), body)
    emblem = ellipse(x, y, (0.0, label_y), (half * 0.45, label_half * 0.5))
    return [
        Layer(union(body, slope, throat), BODY),
        Layer(cap, DARK),
        Layer(label, ACCENT),
        Layer(emblem, DETAIL),
    ]


def butterfly(x: Array, y: Array, vary: Variation) -> list[Layer]:
    """The small class: seen from above, symmetric."""
    mirrored = np.abs(x)
    angle, reach = vary(-0.85, -0.5), vary(0.5, 0.6)
    upper = ellipse(x=mirrored, y=y, centre=(0.5, -0.38), radii=(reach, vary(0.32, 0.4)), angle=angle)
    lower = ellipse(mirrored, y, (0.38, 0.38), (vary(0.36, 0.46), vary(0.26, 0.34)), vary(0.5, 0.9))
    spot = circle(mirrored, y, (0.58, -0.45), vary(0.12, 0.2))
    dot = circle(mirrored, y, (0.42, 0.4), vary(0.1, 0.17))
    body = segment(x, y, (0.0, -0.5), (0.0, 0.6), 0.1)
    feelers = segment(mirrored, y, (0.02, -0.5), (0.3, -0.95), 0.05)
    return [
        Layer(feelers, DARK),
        Layer(lower, ACCENT),
        Layer(upper, BODY),
        Layer(union(spot, dot), DETAIL),
        Layer(body, DARK),
    ]


def car(x: Array, y: Array, vary: Variation) -> list[Layer]:
    """Seen from the side, driving to the right."""
    radius, rear, front = vary(0.19, 0.25), vary(-0.66, -0.52), vary(0.52, 0.64)
    bonnet, roof = vary(-0.16, -0.06), vary(-0.58, -0.44)
    lower = box(x, y, (0.0, 0.08), (1.0, 0.24), 0.1)
    back = vary(-0.95, -0.7)
    roof_back, roof_front = back + vary(0.05, 0.3), vary(0.05, 0.35)
    cabin = polygon(
        x, y, [(back, 0.0), (roof_back, roof), (roof_front, roof), (roof_front + vary(0.2, 0.36), 0.0)]
    )
    pillar = vary(-0.35, -0.05)
    glass = intersection(cabin + 0.075, -box(x, y, (pillar, 0.0), (0.045, 1.0)), y - bonnet)
    wheels = union(circle(x, y, (rear, 0.3), radius), circle(x, y, (front, 0.3), radius))
    hubs = union(circle(x, y, (rear, 0.3), radius * 0.5), circle(x, y, (front, 0.3), radius * 0.5))
    lamps = union(circle(x, y, (0.9, 0.02), 0.08), box(x, y, (-0.95, 0.02), (0.05, 0.07)))
    return [
        Layer(union(lower, cabin), BODY),
        Layer(glass, DETAIL),
        Layer(intersection(lamps, lower), ACCENT),
        Layer(wheels, DARK),
        Layer(hubs, ACCENT),
    ]


def cat(x: Array, y: Array, vary: Variation) -> list[Layer]:
    """Standing, its face turned to the viewer; the head is what tells it, the body is most of it."""
    belly, length = vary(0.24, 0.32), vary(0.56, 0.66)
    head_x, head_y, head_r = vary(-0.68, -0.55), vary(-0.42, -0.26), vary(0.27, 0.33)
    body = box(x, y, (0.12, 0.1), (length, belly), belly * 0.9)
    neck = segment(x, y, (head_x, head_y), (-0.25, 0.05), 0.2)
    foot = vary(0.55, 0.7)
    stride = vary(0.0, 0.1)
    near = union(
        segment(x, y, (-0.3, 0.2), (-0.33 - stride, foot), 0.085),
        segment(x, y, (0.55, 0.2), (0.55 + stride, foot), 0.085),
    )
    far = union(
        segment(x, y, (-0.12, 0.2), (-0.1 + stride, foot), 0.075),
        segment(x, y, (0.36, 0.2), (0.34 - stride, foot), 0.075),
    )
    bend, lift = vary(0.1, 0.3), vary(-0.7, -0.3)
    tail = polyline(
        x,
        y,
        [(0.6, 0.0), (0.6 + bend, -0.05), (0.68 + bend, lift * 0.6), (0.66 + bend * vary(0.3, 1.6), lift)],
        0.07,
    )
    mirrored = np.abs(x - head_x)
    ear_tip = vary(0.26, 0.34)
    ears = polygon(
        mirrored,
        y,
        [(0.02, head_y - head_r * 0.6), (ear_tip * 0.85, head_y - head_r - 0.22), (head_r, head_y - 0.05)],
    )
    inner = ears + 0.07
    head = ellipse(x, y, (head_x, head_y), (head_r * 1.1, head_r))
    eyes = circle(mirrored, y, (0.13, head_y - 0.03), 0.07)
    muzzle = ellipse(x, y, (head_x, head_y + 0.13), (0.12, 0.08))
    return [
        Layer(far, ACCENT),
        Layer(tail, BODY),
        Layer(union(body, neck, near), BODY),
        Layer(ears, BODY),
        Layer(inner, ACCENT),
        Layer(head, BODY),
        Layer(muzzle, ACCENT),
        Layer(eyes, DETAIL),
    ]


def house(x: Array, y: Array, vary: Variation) -> list[Layer]:
    half, eaves, ridge = vary(0.65, 0.85), vary(-0.25, -0.05), vary(-1.0, -0.7)
    overhang, flat = vary(0.08, 0.18), vary(0.0, 0.35)
    wall = box(x, y, (0.0, (eaves + 0.85) / 2), (half, (0.85 - eaves) / 2))
    roof = polygon(x, y, [(-half - overhang, eaves), (-flat, ridge), (flat, ridge), (half + overhang, eaves)])
    side = 1.0 if vary(0.0, 1.0) < 0.5 else -1.0
    chimney = box(x, y, (side * half * 0.6, ridge + 0.2), (0.09, 0.26))
    door_x = vary(-0.35, 0.35) * half
    door = box(x, y, (door_x, 0.56), (0.13, 0.3))
    window_y = vary(eaves + 0.25, 0.35)
    columns = [w * half for w in (-0.62, 0.0, 0.62) if abs(w * half - door_x) > 0.3]
    layers = [Layer(chimney, DETAIL), Layer(wall, BODY), Layer(roof, ACCENT), Layer(door, DARK)]
    for column in columns:
        pane = box(x, y, (column, window_y), (0.14, 0.14))
        bars = union(box(x, y, (column, window_y), (0.02, 0.14)), box(x, y, (column, window_y), (0.14, 0.02)))
        layers += [Layer(pane, DETAIL), Layer(bars, DARK)]
    return layers


def mushroom(x: Array, y: Array, vary: Variation) -> list[Layer]:
    width, height, brim = vary(0.75, 1.0), vary(0.6, 0.85), vary(-0.1, 0.05)
    cap = union(
        intersection(ellipse(x, y, (0.0, brim), (width, height)), y - brim),
        segment(x, y, (-width + 0.08, brim), (width - 0.08, brim), 0.08),
    )
    top, foot, lean = vary(0.15, 0.24), vary(0.2, 0.36), vary(-0.15, 0.15)
    stem = polygon(x, y, [(-top, brim), (top, brim), (lean + foot, 0.9), (lean - foot, 0.9)]) - 0.04
    skirt = box(x, y, (lean * 0.4, brim + 0.25), (top + 0.1, 0.05), 0.04)
    spots = union(
        circle(x, y, (vary(-0.5, -0.35) * width, brim - height * 0.3), vary(0.1, 0.16)),
        circle(x, y, (vary(-0.1, 0.15) * width, brim - height * 0.55), vary(0.12, 0.18)),
        circle(x, y, (vary(0.4, 0.55) * width, brim - height * 0.3), vary(0.1, 0.15)),
        circle(x, y, (vary(-0.15, 0.1) * width, brim - height * 0.05), vary(0.06, 0.1)),
    )
    return [
        Layer(stem, ACCENT),
        Layer(skirt, DARK),
        Layer(cap, BODY),
        Layer(intersection(spots, cap + 0.03), DETAIL),
    ]


def train(x: Array, y: Array, vary: Variation) -> list[Layer]:
    """A locomotive with coaches, seen from the side; its wheels stand at y = 0.45."""
    steam = vary(0.0, 1.0) < 0.45
    joint, roof = vary(0.1, 0.3), vary(-0.42, -0.34)
    coach = box(x, y, (joint - 0.85, (roof + 0.28) / 2), (0.8, (0.28 - roof) / 2), 0.05)
    pitch = vary(0.24, 0.34)
    pane = box((x - joint) % pitch - pitch / 2, y, (0.0, roof + 0.22), (pitch * 0.32, 0.1))
    coach_glass = intersection(pane, coach + 0.05)
    coupling = box(x, y, (joint, 0.2), (0.12, 0.04))
    spacing = vary(0.3, 0.36)
    under = box(x, y, (0.0, 0.34), (1.6, 0.2))
    wheels = intersection(
        norm((x - joint) % spacing - spacing / 2, y - 0.33) - 0.12, under, x - 1.5, -1.6 - x
    )
    start, nose = joint + 0.06, 1.45
    if steam:
        cab = box(x, y, (start + 0.24, -0.1), (0.24, 0.4), 0.03)
        boiler = box(x, y, ((start + nose) / 2 + 0.1, 0.05), ((nose - start) / 2 - 0.1, 0.24), 0.12)
        chimney = polygon(
            x, y, [(nose - 0.3, -0.1), (nose - 0.36, -0.52), (nose - 0.06, -0.52), (nose - 0.12, -0.1)]
        )
        dome = circle(x, y, (start + 0.68, -0.18), 0.13)
        window = box(x, y, (start + 0.26, -0.26), (0.14, 0.11))
        plough = polygon(x, y, [(nose - 0.05, 0.2), (nose + 0.15, 0.44), (nose - 0.15, 0.44)])
        engine = [
            Layer(union(chimney, dome, plough), DARK),
            Layer(union(boiler, cab), BODY),
            Layer(window, DETAIL),
        ]
    else:
        slant = vary(0.1, 0.35)
        front = polygon(
            x, y, [(start, roof), (nose - slant, roof), (nose, 0.05), (nose, 0.28), (start, 0.28)]
        )
        screen = intersection(front + 0.05, box(x, y, (nose - 0.15, roof + 0.2), (0.17, 0.14)))
        side = intersection(pane, box(x, y, (start + 0.35, 0.0), (0.3, 1.0)))
        stripe = intersection(front, box(x, y, (1.0, 0.14), (1.2, 0.05)))
        engine = [Layer(front, BODY), Layer(union(screen, side), DETAIL), Layer(stripe, ACCENT)]
    band = intersection(coach, box(x, y, (joint - 0.85, 0.14), (1.0, 0.05)))
    return [
        Layer(union(wheels, coupling), DARK),
        Layer(coach, BODY),
        Layer(coach_glass, DETAIL),
        Layer(band, ACCENT),
        *engine,
    ]


@dataclass(frozen=True)
class ObjectClass:
    """How a class is drawn and placed.

    `scale`: pixels per local unit in a picture of 96 x 128; `turn`: largest rotation in radians;
    `reach`: local half width and half height that hold the object; `base`: local y at which it stands in its
    context.
    """

    name: str
    draw: Drawing
    scale: tuple[float, float]
    turn: float
    reach: tuple[float, float]
    base: float | None = None


CLASSES = (
    ObjectClass("aeroplane", aeroplane, (40.0, 58.0), 0.35, (1.1, 1.05)),
    ObjectClass("bicycle", bicycle, (40.0, 58.0), 0.2, (1.15, 0.8)),
    ObjectClass("boat", boat, (30.0, 48.0), 0.1, (1.1, 1.2), base=0.4),
    ObjectClass("bottle", bottle, (32.0, 52.0), 0.4, (0.45, 1.1)),
    ObjectClass("butterfly", butterfly, (16.0, 21.0), 0.4, (1.15, 1.05)),
    ObjectClass("car", car, (32.0, 52.0), 0.2, (1.05, 0.65)),
    ObjectClass("cat", cat, (32.0, 50.0), 0.2, (1.25, 1.0)),
    ObjectClass("house", house, (28.0, 44.0), 0.1, (1.1, 1.1)),
    ObjectClass("mushroom", mushroom, (26.0, 44.0), 0.3, (1.05, 1.0)),
    ObjectClass("train", train, (34.0, 50.0), 0.1, (1.75, 0.6), base=0.45),
)
