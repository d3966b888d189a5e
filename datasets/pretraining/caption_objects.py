"""The objects of the captioned world (`datasets.pretraining.captions`), each drawn from its own numbers.

They are the things that words such as "train" or "boat" name, not the benchmark's pictures of them: proportions,
views and parts are others (trains and cars also from the front, sitting cats, canoes, flat and tall houses) and
no drawing code is shared with `shapes` beyond the primitives of `datasets.drawing.primitives`.

A drawer is a function (draws, x, y) -> parts, painted in order. Coordinates are local: the object lies within
about one unit of the origin, y points down. A part is a signed distance (H, W) in local units and the number of
the colour that it takes: 0, 1, 2, or `DARK`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from datasets.drawing.primitives import (
    Array,
    Draws,
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

DARK = 3
Part = tuple[Array, int]
Drawer = Callable[[Draws, Array, Array], list[Part]]


def _repeat(x: Array, period: float) -> Array:
    """Coordinate within each of endless equal cells, 0 in their middle."""
    return x % period - 0.5 * period


def _train(draws: Draws, x: Array, y: Array) -> list[Part]:
    if draws.chance(0.15):  # coming towards the viewer
        half, crown = draws.uniform(0.4, 0.6), draws.uniform(0.1, 0.4)
        face = box(x, y, (0.0, 0.0), (half, 0.8), crown)
        pane = box(np.abs(x), y, (half * 0.42, -0.35), (half * 0.34, draws.uniform(0.15, 0.28)), 0.05)
        lamps = circle(np.abs(x), y, (half * 0.65, 0.3), draws.uniform(0.07, 0.12))
        bumper = box(x, y, (0.0, 0.72), (half * 1.1, 0.12))
        return [(face, 0), (pane, 2), (lamps, 1), (bumper, DARK)]
    height, rear = draws.uniform(0.22, 0.38), draws.uniform(-1.3, -1.0)
    joint = draws.uniform(-0.1, 0.4)
    wheel, spacing = draws.uniform(0.07, 0.14), draws.uniform(0.24, 0.42)
    wheels = np.maximum(norm(_repeat(x, spacing), y - height) - wheel, np.abs(x + 0.05) - 1.05)
    period = draws.uniform(0.17, 0.36)
    panes = box(
        _repeat(x, period), y, (0.0, -0.35 * height), (period * 0.32, height * draws.uniform(0.25, 0.4))
    )
    length = 0.5 * (joint - rear)
    coach = box(x, y, (joint - length, 0.0), (length - 0.04, height), draws.uniform(0.0, 0.08))
    parts = [(wheels, DARK), (np.maximum(np.abs(x) - 0.9, np.abs(y - 0.7 * height) - 0.05), DARK), (coach, 0)]
    if draws.chance(0.8):
        parts.append((intersection(panes, coach + 0.04), 2))
    if draws.chance(0.4):
        parts.append((intersection(np.abs(y - 0.5 * height) - 0.06, coach), 1))
    nose = draws.uniform(1.1, 1.35)
    if draws.chance(0.45):  # a steam engine
        middle, barrel = 0.5 * (joint + nose), height * draws.uniform(0.5, 0.75)
        boiler = box(x, y, (middle + 0.1, 0.25 * height), (0.5 * (nose - joint) - 0.1, barrel), 0.1)
        cab = box(x, y, (joint + 0.17, -0.15 * height), (0.18, height * 1.15))
        stack = box(x, y, (nose - draws.uniform(0.12, 0.25), -height), (draws.uniform(0.06, 0.11), 0.28))
        hatch = box(x, y, (joint + 0.17, -0.5 * height), (0.1, 0.35 * height))
        return [*parts, (stack, DARK), (boiler, 1), (cab, draws.integer(2)), (hatch, 2)]
    slope = draws.uniform(0.03, 0.45)
    corners = [
        (joint, -height),
        (nose - slope, -height),
        (nose, draws.uniform(-0.1, 0.2)),
        (nose, height),
        (joint, height),
    ]
    head = polygon(x, y, corners)
    screen = intersection(head + 0.05, np.abs(x - nose + slope) - 0.14, y + 0.05)
    return [*parts, (head, draws.integer(2)), (union(screen, intersection(panes, head + 0.06)), 2)]


def _aeroplane(draws: Draws, x: Array, y: Array) -> list[Part]:
    thick, tip = draws.uniform(0.1, 0.2), draws.uniform(-0.5, 0.1)
    if draws.chance(0.3):  # from the side
        body = ellipse(x, y, (0.0, 0.0), (1.0, thick * 1.2))
        fin = polygon(x, y, [(-0.6, 0.0), (-0.75, -0.55), (-0.98, -0.6), (-0.92, 0.0)])
        wing = polygon(x, y, [(0.25, 0.02), (-0.05, 0.0), (tip - 0.3, 0.45), (tip - 0.1, 0.48)])
        windows = intersection(circle(_repeat(x, 0.16), y, (0.0, -0.05), 0.045), np.abs(x) - 0.7)
        return [(fin, 1), (body, 0), (windows, DARK), (wing, 1)]
    mirrored, root, chord = np.abs(y), draws.uniform(0.1, 0.45), draws.uniform(0.2, 0.45)
    span = draws.uniform(0.65, 1.05)
    wing = polygon(
        x,
        mirrored,
        [(root, -0.1), (root + tip, span), (root + tip - 0.5 * chord, span), (root - chord, -0.1)],
    )
    back = draws.uniform(0.25, 0.45)
    tail = polygon(x, mirrored, [(-0.65, -0.1), (-0.9, back), (-1.05, back), (-0.9, -0.1)])
    body = ellipse(x, y, (0.0, 0.0), (1.0, thick))
    pod = ellipse(x, mirrored, (root + 0.5 * tip, 0.5 * span), (0.16, 0.06))
    glass = ellipse(x, y, (0.75, 0.0), (0.1, thick * 0.5))
    return [(pod, DARK), (wing, 1), (tail, 1), (body, 0), (glass, 2)]


def _bicycle(draws: Draws, x: Array, y: Array) -> list[Part]:
    radius, tyre, tube = draws.uniform(0.34, 0.5), draws.uniform(0.04, 0.1), draws.uniform(0.04, 0.09)
    rear, front = (-draws.uniform(0.5, 0.64), 0.3), (draws.uniform(0.5, 0.64), 0.3)
    seat, head = (draws.uniform(-0.35, -0.15), draws.uniform(-0.4, -0.1)), (0.38, draws.uniform(-0.45, -0.2))
    crank = (draws.uniform(-0.1, 0.05), 0.32)
    wheels = union(ring(x, y, rear, radius, tyre), ring(x, y, front, radius, tyre))
    frame = union(
        polyline(x, y, [rear, seat, crank, rear], tube),
        polyline(x, y, [crank, head, front], tube),
    )
    if draws.chance(0.75):
        frame = union(frame, segment(x, y, seat, head, tube))
    handle = (head[0] + draws.uniform(-0.15, 0.05), head[1] - 0.22)
    bar = union(segment(x, y, head, handle, tube), segment(x, y, handle, (handle[0] + 0.2, handle[1]), tube))
    saddle = box(x, y, (seat[0] - 0.04, seat[1] - 0.12), (0.17, 0.06), 0.04)
    parts = [(wheels, DARK), (union(frame, segment(x, y, seat, (seat[0], seat[1] - 0.1), tube)), 0)]
    if draws.chance(0.4):
        parts.append((circle(x, y, crank, draws.uniform(0.08, 0.15)), 2))
    return [*parts, (union(bar, saddle), 1)]


def _boat(draws: Draws, x: Array, y: Array) -> list[Part]:
    deck, keel = draws.uniform(0.1, 0.3), draws.uniform(0.5, 0.75)
    bow, stern = draws.uniform(0.8, 1.1), draws.uniform(-1.1, -0.75)
    hull = polygon(
        x,
        y,
        [(stern, deck), (bow, deck - draws.uniform(0.0, 0.15)), (bow * 0.65, keel), (stern * 0.75, keel)],
    )
    kind = draws.integer(5)
    if kind == 0:  # a rowing boat
        crescent = intersection(
            ellipse(x, y, (0.0, 0.1), (1.05, 0.45)), -ellipse(x, y, (0.0, -0.1), (1.1, 0.35)), 0.05 - y
        )
        oar = segment(x, y, (-0.2, 0.0), (draws.uniform(-0.6, 0.3), 0.7), 0.04)
        return [(crescent, 0), (oar, 2)]
    parts: list[Part] = []
    if kind < 4:  # sails
        at, top, foot = (
            draws.uniform(-0.25, 0.2),
            draws.uniform(-1.1, -0.75),
            deck - draws.uniform(0.08, 0.16),
        )
        parts.append((segment(x, y, (at, top), (at, deck), draws.uniform(0.025, 0.05)), DARK))
        left, right = stern * draws.uniform(0.6, 0.95), bow * draws.uniform(0.6, 0.9)
        parts.append((polygon(x, y, [(at - 0.05, top + 0.05), (at - 0.05, foot), (left, foot)]), 2))
        if kind > 1:
            parts.append(
                (
                    polygon(
                        x, y, [(at + 0.06, top + draws.uniform(0.0, 0.4)), (at + 0.06, foot), (right, foot)]
                    ),
                    1,
                )
            )
    else:  # a steamer
        roof = deck - draws.uniform(0.25, 0.5)
        middle, half = draws.uniform(-0.3, 0.1), draws.uniform(0.35, 0.6)
        cabin = box(x, y, (middle, 0.5 * (roof + deck)), (half, 0.5 * (deck - roof) + 0.02))
        ports = circle(_repeat(x, 0.2), y, (0.0, 0.5 * (roof + deck)), 0.055)
        funnel = box(x, y, (middle + draws.uniform(-0.2, 0.2), roof - 0.2), (draws.uniform(0.07, 0.13), 0.26))
        parts += [(funnel, 2), (cabin, 1), (intersection(ports, cabin + 0.05), DARK)]
    parts.append((hull, 0))
    if draws.chance(0.5):
        parts.append((intersection(hull, np.abs(y - deck - 0.1) - 0.04), 2))
    return parts


def _bottle(draws: Draws, x: Array, y: Array) -> list[Part]:
    half, neck = draws.uniform(0.2, 0.42), draws.uniform(0.07, 0.14)
    shoulder, foot = draws.uniform(-0.4, 0.1), 1.0
    slope = shoulder - draws.uniform(0.1, 0.4)
    body = box(
        x, y, (0.0, 0.5 * (shoulder + foot)), (half, 0.5 * (foot - shoulder)), draws.uniform(0.02, 0.12)
    )
    if draws.chance(0.5):
        shape = ellipse(x, y, (0.0, shoulder + 0.1), (half, shoulder + 0.1 - slope))
        shoulders = np.maximum(shape, y - shoulder - 0.1)
    else:
        shoulders = polygon(
            x, y, [(-half, shoulder + 0.1), (-neck, slope), (neck, slope), (half, shoulder + 0.1)]
        )
    throat = box(x, y, (0.0, 0.5 * (slope - 0.85)), (neck, 0.5 * (slope + 0.85) + 0.1))
    cap = box(x, y, (0.0, -0.9), (neck + draws.uniform(0.0, 0.05), draws.uniform(0.06, 0.14)))
    parts = [(union(body, shoulders, throat), 0), (cap, 1 + draws.integer(3))]
    if draws.chance(0.7):
        high = draws.uniform(0.12, 0.3)
        label = intersection(body, np.abs(y - draws.uniform(0.3, 0.6)) - high)
        parts.append((label, 2))
    return parts


def _butterfly(draws: Draws, x: Array, y: Array) -> list[Part]:
    mirrored, tilt = np.abs(x), draws.uniform(-1.0, -0.35)
    upper = ellipse(mirrored, y, (0.5, -0.35), (draws.uniform(0.48, 0.62), draws.uniform(0.28, 0.42)), tilt)
    lower = ellipse(
        mirrored,
        y,
        (0.38, 0.38),
        (draws.uniform(0.32, 0.5), draws.uniform(0.22, 0.36)),
        draws.uniform(0.3, 1.1),
    )
    body = ellipse(x, y, (0.0, 0.05), (draws.uniform(0.07, 0.13), draws.uniform(0.5, 0.7)))
    feelers = segment(mirrored, y, (0.02, -0.5), (draws.uniform(0.15, 0.4), -0.95), 0.04)
    parts = [(feelers, DARK), (lower, 1), (upper, 0)]
    if draws.chance(0.7):
        parts.append((circle(mirrored, y, (draws.uniform(0.45, 0.7), -0.45), draws.uniform(0.08, 0.2)), 2))
    if draws.chance(0.4):
        parts.append((intersection(upper, -(upper + draws.uniform(0.05, 0.12))), DARK))
    return [*parts, (body, DARK)]


def _car(draws: Draws, x: Array, y: Array) -> list[Part]:
    radius = draws.uniform(0.16, 0.28)
    if draws.chance(0.15):  # coming towards the viewer
        lower = box(x, y, (0.0, 0.2), (0.8, 0.3), draws.uniform(0.05, 0.2))
        cabin = polygon(x, y, [(-0.7, 0.0), (-0.5, -0.6), (0.5, -0.6), (0.7, 0.0)])
        lamps = circle(np.abs(x), y, (0.55, 0.15), draws.uniform(0.1, 0.16))
        tyres = box(np.abs(x), y, (0.6, 0.55), (0.14, 0.18), 0.05)
        return [(tyres, DARK), (union(lower, cabin), 0), (cabin + 0.1, 2), (lamps, 1)]
    sill, roof = draws.uniform(-0.2, -0.05), draws.uniform(-0.65, -0.4)
    lower = box(x, y, (0.0, 0.1), (1.0, draws.uniform(0.2, 0.3)), draws.uniform(0.05, 0.18))
    back, front = draws.uniform(-1.0, -0.55), draws.uniform(0.3, 0.75)
    rake, pillar = draws.uniform(0.05, 0.35), draws.uniform(-0.3, 0.1)
    cabin = polygon(x, y, [(back, 0.0), (back + 0.5 * rake, roof), (front - rake, roof), (front, 0.0)])
    glass = intersection(cabin + 0.08, y - sill, 0.05 - np.abs(x - pillar))
    at = draws.uniform(0.5, 0.68)
    wheels = circle(np.abs(x), y, (at, 0.34), radius)
    hubs = circle(np.abs(x), y, (at, 0.34), radius * draws.uniform(0.3, 0.65))
    lamp = intersection(circle(x, y, (0.92, 0.02), draws.uniform(0.07, 0.13)), lower)
    return [(union(lower, cabin), 0), (glass, 2), (lamp, 1), (wheels, DARK), (hubs, 1)]


def _cat(draws: Draws, x: Array, y: Array) -> list[Part]:
    big = draws.uniform(0.24, 0.38)
    seated = draws.chance(0.5)
    if seated:  # seen from the front, its tail to one side
        place = (draws.uniform(-0.1, 0.1), -0.45)
        body = union(
            ellipse(x, y, (0.0, 0.5), (draws.uniform(0.35, 0.5), 0.5)),
            segment(x, y, place, (0.0, 0.4), big * 0.7),
        )
        tail = polyline(
            x, y, [(0.3, 0.85), (0.7, 0.75), (draws.uniform(0.6, 0.9), draws.uniform(0.1, 0.5))], 0.08
        )
        limbs = segment(np.abs(x), y, (0.14, 0.5), (0.16, 0.92), 0.1)
    else:
        place = (-draws.uniform(0.5, 0.75), -draws.uniform(0.15, 0.5))
        belly, foot = draws.uniform(0.18, 0.32), draws.uniform(0.5, 0.8)
        body = union(
            box(x, y, (0.1, 0.1), (draws.uniform(0.5, 0.7), belly), belly * 0.8),
            segment(x, y, place, (-0.3, 0.05), big * 0.6),
        )
        limbs = union(
            *(
                segment(x, y, (at, 0.15), (at + draws.uniform(-0.12, 0.12), foot), 0.085)
                for at in (-0.35, -0.15, 0.4, 0.58)
            )
        )
        tip = (draws.uniform(0.7, 1.1), draws.uniform(-0.75, 0.2))
        tail = polyline(
            x, y, [(0.6, 0.0), (0.5 * (0.7 + tip[0]), 0.4 * tip[1]), tip], draws.uniform(0.05, 0.1)
        )
    u, v = np.abs(x - place[0]), y - place[1]
    head = ellipse(u, v, (0.0, 0.0), (big * 1.1, big))
    tall = big + draws.uniform(0.1, 0.28)
    ears = polygon(u, v, [(0.1 * big, -0.8 * big), (0.8 * big, -tall), (1.05 * big, -0.1)])
    eyes = circle(u, v, (0.42 * big, -0.1 * big), draws.uniform(0.045, 0.08))
    muzzle = ellipse(u, v, (0.0, 0.4 * big), (0.4 * big, 0.26 * big))
    return [
        (tail, draws.integer(2)),
        (union(body, limbs), 0),
        (union(ears, head), 0),
        (ears + 0.07, 1),
        (muzzle, 1),
        (eyes, 2 + draws.integer(2)),
    ]


def _house(draws: Draws, x: Array, y: Array) -> list[Part]:
    half, eaves, floor = draws.uniform(0.45, 0.95), draws.uniform(-0.4, 0.1), 0.9
    ridge, hip = eaves - draws.uniform(0.3, 0.75), draws.uniform(0.0, 0.6)
    over = draws.uniform(0.02, 0.2)
    wall = box(x, y, (0.0, 0.5 * (eaves + floor)), (half, 0.5 * (floor - eaves)))
    roof = polygon(
        x, y, [(-half - over, eaves), (-half * hip, ridge), (half * hip, ridge), (half + over, eaves)]
    )
    door = box(x, y, (draws.uniform(-0.6, 0.6) * half, floor - 0.25), (draws.uniform(0.09, 0.15), 0.26))
    pitch = draws.uniform(0.34, 0.6)
    pane = box(_repeat(x, pitch), y, (0.0, eaves + draws.uniform(0.2, 0.32)), (0.3 * pitch, 0.13))
    parts = [(wall, 0), (intersection(pane, np.abs(x) - half + 0.08), 2), (door, DARK), (roof, 1)]
    if draws.chance(0.6):
        chimney = box(x, y, (half * draws.uniform(-0.7, 0.7), ridge + 0.1), (0.09, 0.24))
        parts.insert(0, (chimney, draws.integer(3)))
    return parts


def _mushroom(draws: Draws, x: Array, y: Array) -> list[Part]:
    wide, high, brim = draws.uniform(0.55, 1.0), draws.uniform(0.4, 0.9), draws.uniform(-0.2, 0.15)
    cap = np.maximum(
        ellipse(x, y, (0.0, brim), (wide, high)), y - brim - draws.uniform(0.0, 0.1) + 0.1 * (x / wide) ** 2
    )
    top, foot, lean = draws.uniform(0.1, 0.22), draws.uniform(0.12, 0.36), draws.uniform(-0.25, 0.25)
    stem = polygon(x, y, [(-top, brim - 0.05), (top, brim - 0.05), (lean + foot, 0.95), (lean - foot, 0.95)])
    parts = [(stem, 1), (cap, 0)]
    if draws.chance(0.75):
        spots = union(
            *(
                circle(x, y, (wide * at, brim - high * draws.uniform(0.15, 0.65)), draws.uniform(0.06, 0.16))
                for at in (-0.5, 0.0, 0.45)
            )
        )
        parts.append((intersection(spots, cap + 0.02), 2))
    return parts


def _star(draws: Draws, x: Array, y: Array) -> list[Part]:
    points, inner = 5 + draws.integer(3), draws.uniform(0.35, 0.55)
    angles = np.arange(2 * points) * np.pi / points - 0.5 * np.pi
    radii = [1.0 if i % 2 == 0 else inner for i in range(2 * points)]
    return [(polygon(x, y, [(r * np.cos(a), r * np.sin(a)) for r, a in zip(radii, angles.tolist())]), 0)]


def _ball(draws: Draws, x: Array, y: Array) -> list[Part]:
    disc = circle(x, y, (0.0, 0.0), 0.85)
    if draws.chance(0.5):
        seams = union(np.abs(x) - 0.05, np.abs(circle(np.abs(x), y, (1.0, 0.0), 0.65)) - 0.05)
    else:
        seams = union(np.abs(y) - draws.uniform(0.1, 0.25), circle(x, y, (0.0, 0.0), 0.25))
    return [(disc, 0), (intersection(seams, disc), 1)]


def _fish(draws: Draws, x: Array, y: Array) -> list[Part]:
    body = ellipse(x, y, (0.15, 0.0), (0.8, draws.uniform(0.28, 0.5)))
    tail = polygon(x, y, [(-0.5, 0.0), (-1.0, -draws.uniform(0.3, 0.5)), (-0.85, 0.0), (-1.0, 0.42)])
    fin = polygon(x, y, [(0.3, -0.2), (-0.1, -draws.uniform(0.5, 0.75)), (-0.3, -0.2)])
    stripes = intersection(np.abs(_repeat(x, draws.uniform(0.3, 0.5))) - 0.07, body + 0.03, x - 0.45)
    return [(tail, 1), (fin, 1), (body, 0), (stripes, 2), (circle(x, y, (0.65, -0.08), 0.09), DARK)]


def _cup(draws: Draws, x: Array, y: Array) -> list[Part]:
    top, foot = draws.uniform(0.5, 0.7), draws.uniform(0.3, 0.6)
    body = polygon(x, y, [(-top, -0.6), (top, -0.6), (foot, 0.75), (-foot, 0.75)])
    handle = ring(x, y, (top, 0.0), draws.uniform(0.25, 0.36), 0.07)
    rim = ellipse(x, y, (0.0, -0.6), (top, draws.uniform(0.08, 0.18)))
    return [(handle, 0), (body, 0), (rim, 1)]


def _umbrella(draws: Draws, x: Array, y: Array) -> list[Part]:
    scallops = -circle(_repeat(x + 0.25, 0.5), y, (0.0, 0.05), draws.uniform(0.2, 0.26))
    roof = intersection(circle(x, y, (0.0, 0.1), 0.98), y - 0.05, scallops)
    hook = np.maximum(ring(x, y, (0.14, 0.8), 0.14, 0.045), 0.8 - y)
    stripes = intersection(roof, np.abs(_repeat(x, 0.5)) - 0.1)
    return [(union(segment(x, y, (0.0, -0.9), (0.0, 0.8), 0.045), hook), DARK), (roof, 0), (stripes, 1)]


OBJECT_DRAWERS: Mapping[str, tuple[Drawer, tuple[str, ...]]] = {
    "aeroplane": (_aeroplane, ("airplane", "plane")),
    "bicycle": (_bicycle, ("bike",)),
    "boat": (_boat, ("ship", "sailing boat")),
    "bottle": (_bottle, ("flask",)),
    "butterfly": (_butterfly, ("moth",)),
    "car": (_car, ("automobile",)),
    "cat": (_cat, ("kitten",)),
    "house": (_house, ("cottage",)),
    "mushroom": (_mushroom, ("toadstool",)),
    "train": (_train, ("locomotive",)),
    "ball": (_ball, ()),
    "cup": (_cup, ("mug",)),
    "fish": (_fish, ()),
    "star": (_star, ()),
    "umbrella": (_umbrella, ("parasol",)),
}
"""Noun -> its drawer and other words for the same thing."""
