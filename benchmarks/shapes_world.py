"""A split, an index and a seed flow in; a drawn scene of shapes flows out: the picture and its exact label map."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLASSES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "moon", "leaf", "flower")
SIZES = ((96, 128), (128, 96), (96, 112), (112, 96), (112, 128), (128, 112))  # (height, width), never square
OBJECTS = {  # probability of 0, 1, 2, 3 objects
    "train": (0.0, 0.25, 0.45, 0.30), "val": (0.0, 0.0, 0.6, 0.4), "mixed": (0.1, 0.3, 0.35, 0.25),
}  # fmt: skip
RADII = {0: (0.24, 0.38), 1: (0.24, 0.38), 2: (0.24, 0.36), 3: (0.22, 0.29)}  # by number of objects, in shorter sides
TEXTURES = ("solid", "columns", "dots", "rows", "radial")
HUE_SPREAD = 0.08  # classes stand 0.1 apart: neighbours overlap, so colour alone does not tell the class
PREFERRED_TEXTURE = 0.75
IGNORED = 255


@dataclass(frozen=True)
class Placed:
    """One object: class index (0-based), centre (y, x) and radius in pixels, rotation in radians, squeeze per axis."""

    kind: int
    centre: tuple[float, float]
    radius: float
    rotation: float
    squeeze: tuple[float, float]


def scene_generator(split: str, index: int, seed: int) -> np.random.Generator:
    """The random numbers of one image, which depend on nothing but these three values."""
    digest = hashlib.blake2b(f"shapes/{split}/{index}/{seed}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def draw_scene(split: str, index: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image (height, width, 3) and label map (height, width): 0 background, class index + 1, without ignored border."""
    rng = scene_generator(split, index, seed)
    height, width = SIZES[rng.integers(len(SIZES))]
    count = int(rng.choice(4, p=OBJECTS[split]))
    kinds = rng.choice(len(CLASSES), size=count, replace=False)
    picture = background(rng, height, width)
    labels = np.zeros((height, width), dtype=np.uint8)
    for placed in place(rng, height, width, [int(kind) for kind in kinds]):
        paint(rng, picture, labels, placed)
    picture += rng.normal(0.0, 0.012, picture.shape)  # sensor noise
    return np.rint(np.clip(picture, 0.0, 1.0) * 255.0).astype(np.uint8), labels


def mark_border(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The label map (height, width) with 255 wherever one of the four neighbours bears another label."""
    border = np.zeros(labels.shape, dtype=bool)
    vertical = labels[1:] != labels[:-1]
    horizontal = labels[:, 1:] != labels[:, :-1]
    border[1:] |= vertical
    border[:-1] |= vertical
    border[:, 1:] |= horizontal
    border[:, :-1] |= horizontal
    return np.where(border, np.uint8(IGNORED), labels)


def place(rng: np.random.Generator, height: int, width: int, kinds: list[int]) -> list[Placed]:
    """Places one object per class so that they hardly touch; every failed attempt shrinks them a little, so it ends."""
    low, high = RADII[len(kinds)]
    scale = float(min(height, width))
    while True:
        radii = rng.uniform(low, high, len(kinds)) * scale
        ys, xs = (rng.uniform(0.8 * radii, side - 0.8 * radii) for side in (height, width))
        if _apart(ys, xs, radii):
            break
        scale *= 0.99
    return [
        Placed(kind, (float(y), float(x)), float(radius), float(rng.uniform(-0.35, 0.35)), _squeeze(rng))
        for kind, y, x, radius in zip(kinds, ys, xs, radii, strict=True)
    ]


def _squeeze(rng: np.random.Generator) -> tuple[float, float]:
    vertical, horizontal = rng.uniform(0.88, 1.05, 2)
    return float(vertical), float(horizontal)


def _apart(ys: NDArray[np.float64], xs: NDArray[np.float64], radii: NDArray[np.float64]) -> bool:
    distance = np.hypot(ys[:, None] - ys, xs[:, None] - xs)
    needed = 0.9 * (radii[:, None] + radii)
    return bool(np.all((distance >= needed) | np.eye(len(radii), dtype=bool)))


def paint(rng: np.random.Generator, picture: NDArray[np.float64], labels: NDArray[np.uint8], placed: Placed) -> None:
    """Draws one object into the picture (height, width, 3) and the label map (height, width), both changed in place."""
    height, width = labels.shape
    reach = 1.15 * placed.radius
    top, left = (max(0, math.floor(centre - reach)) for centre in placed.centre)
    bottom, right = (
        min(side, math.ceil(c + reach) + 1) for c, side in zip(placed.centre, (height, width), strict=True)
    )
    u, v = _object_coordinates(placed, (top, bottom), (left, right))
    # 2 x 2 samples per pixel: their mean is the coverage
    coverage = inside(placed.kind, u, v).reshape(bottom - top, 2, right - left, 2).mean(axis=(1, 3))
    shade = texture(rng, placed.kind, u, v).reshape(bottom - top, 2, right - left, 2).mean(axis=(1, 3))
    colour = object_colour(rng, placed.kind)
    window = (slice(top, bottom), slice(left, right))
    alpha = coverage[..., None]
    picture[window] = (1.0 - alpha) * picture[window] + alpha * shade[..., None] * colour
    labels[window] = np.where(coverage > 0.5, np.uint8(placed.kind + 1), labels[window])


def _object_coordinates(
    placed: Placed, rows: tuple[int, int], columns: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(u right, v down) in units of the radius at the half-pixel samples of the window."""
    y = (np.arange(2 * rows[0], 2 * rows[1]) + 0.5) / 2.0 - placed.centre[0]
    x = (np.arange(2 * columns[0], 2 * columns[1]) + 0.5) / 2.0 - placed.centre[1]
    y, x = y[:, None] / placed.radius, x[None, :] / placed.radius
    cosine, sine = math.cos(placed.rotation), math.sin(placed.rotation)
    return (cosine * x + sine * y) / placed.squeeze[1], (cosine * y - sine * x) / placed.squeeze[0]


def inside(kind: int, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where the shape of this class is, in object coordinates (u right, v down, radius 1)."""
    rho = np.hypot(u, v)
    name = CLASSES[kind]
    if name == "circle":
        return rho < 0.85
    if name == "square":
        return np.maximum(np.abs(u), np.abs(v)) < 0.76
    if name == "triangle":
        return (v < 0.62) & (v > 1.75 * np.abs(u) - 0.95)
    if name == "star":
        return _star(u, v, rho)
    if name == "cross":
        return (np.minimum(np.abs(u), np.abs(v)) < 0.3) & (np.maximum(np.abs(u), np.abs(v)) < 0.95)
    if name == "ring":
        return (rho > 0.5) & (rho < 0.92)
    if name == "heart":
        x, y = 1.15 * u, 0.12 - 1.15 * v
        return (x * x + y * y - 0.72) ** 3 < 1.6 * x * x * y * y * y
    if name == "moon":
        return (rho < 0.95) & (np.hypot(u - 0.5, v) > 0.72)
    if name == "leaf":
        return (np.hypot(u - 0.62, v) < 1.12) & (np.hypot(u + 0.62, v) < 1.12)
    return rho < 0.66 + 0.28 * np.cos(6.0 * np.arctan2(u, -v))  # flower


def _star(u: NDArray[np.float64], v: NDArray[np.float64], rho: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Five points: folded to the nearest tip, then inside the edge from tip (radius 1) to notch (radius .42)."""
    fifth = 2.0 * math.pi / 5.0
    angle = np.arctan2(u, -v)
    folded = np.abs(angle - fifth * np.rint(angle / fifth))
    notch_x, notch_y = 0.42 * math.sin(fifth / 2.0), 0.42 * math.cos(fifth / 2.0)
    side, along = rho * np.sin(folded), rho * np.cos(folded)
    return side * (1.0 - notch_y) + (along - 1.0) * notch_x < 0.0


def texture(rng: np.random.Generator, kind: int, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Brightness factor at every sample; a class prefers one texture, but only mostly."""
    preferred = rng.random() < PREFERRED_TEXTURE
    other = int(rng.integers(len(TEXTURES)))
    name = TEXTURES[kind % len(TEXTURES) if preferred else other]
    dark, frequency, phase = rng.uniform(0.3, 0.55), rng.uniform(6.0, 9.0), rng.uniform(0.0, 2.0 * math.pi)
    light: NDArray[np.float64]
    if name == "columns":
        light = (np.sin(1.3 * frequency * u + phase) > 0.0).astype(np.float64)
    elif name == "rows":
        light = (np.sin(1.3 * frequency * v + phase) > 0.0).astype(np.float64)
    elif name == "dots":
        waves = np.sin(1.2 * frequency * u + phase) * np.sin(1.2 * frequency * v + phase)
        light = (waves > 0.2).astype(np.float64)
    elif name == "radial":
        light = np.maximum(0.0, 1.0 - np.hypot(u, v))
    else:
        light = np.ones(np.broadcast_shapes(u.shape, v.shape))
    return dark + (1.0 - dark) * light


def object_colour(rng: np.random.Generator, kind: int) -> NDArray[np.float64]:
    """A saturated colour (3,) whose hue lies around the class's own."""
    hue = (kind / len(CLASSES) + rng.normal(0.0, HUE_SPREAD)) % 1.0
    return rgb(hue, rng.uniform(0.55, 1.0), rng.uniform(0.6, 1.0))


def rgb(hue: float, saturation: float, value: float) -> NDArray[np.float64]:
    """Hue, saturation and value in [0, 1] to red, green, blue (3,) in [0, 1]."""
    sector = (np.array([5.0, 3.0, 1.0]) + 6.0 * hue) % 6.0
    return value * (1.0 - saturation * np.clip(np.minimum(sector, 4.0 - sector), 0.0, 1.0))


def background(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """Two dull colours mixed along a direction and by smooth noise, (height, width, 3) in [0, 1]."""
    first, second = (rgb(rng.random(), rng.uniform(0.0, 0.45), rng.uniform(0.15, 0.95)) for _ in range(2))
    angle = rng.uniform(0.0, 2.0 * math.pi)
    y = (np.arange(height)[:, None] + 0.5) / height - 0.5
    x = (np.arange(width)[None, :] + 0.5) / width - 0.5
    weight = 0.5 + 0.7 * (math.cos(angle) * x + math.sin(angle) * y)
    clouds = smooth_noise(rng, height, width, int(rng.integers(3, 8)))
    if rng.random() < 0.5:
        weight = 0.5 * (weight + clouds)
    weight = np.clip(weight, 0.0, 1.0)[..., None]
    grain = rng.uniform(0.0, 0.10) * (smooth_noise(rng, height, width, 24) - 0.5)
    return (1.0 - weight) * first + weight * second + grain[..., None]


def smooth_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> NDArray[np.float64]:
    """Random values on cells x cells points, bilinear in between, (height, width) in [0, 1]."""
    values = rng.random((cells, cells))
    rows, columns = _interpolation(height, cells), _interpolation(width, cells)
    return rows @ values @ columns.T


def _interpolation(length: int, cells: int) -> NDArray[np.float64]:
    """(length, cells) weights of linear interpolation between evenly spaced points."""
    position = np.linspace(0.0, cells - 1.0, length)
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(cells)))
