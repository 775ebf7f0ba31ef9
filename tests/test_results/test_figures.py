"""The poster's pictures: panels where they belong, in the colours of the classes, as PNG and as SVG that XML reads."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import toy_results
from numpy.typing import NDArray
from PIL import Image as Pillow

from harness.errors import StoreError
from results.figures import main
from results.folder import keepsakes
from results.folder.store import Store
from results.pictures import colours, figures, gallery, sheet
from results.pictures.colours import Labels
from results.pictures.gallery import Room
from results.tables.evidence import Evidence

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def room(evidence: Evidence) -> Room:
    return gallery.rooms(evidence)[0]


def test_a_room_knows_all_kept_maps(evidence: Evidence, room: Room) -> None:
    assert len(gallery.rooms(evidence)) == 2
    assert sorted(room.pictures) == sorted(toy_results.image_ids(6))
    assert len(room.maps) == 6 and all(len(files) == 6 for files in room.maps.values())


def test_comparison_rows_are_images_and_columns_are_runs(evidence: Evidence, room: Room) -> None:
    runs = list(room.maps)[1:3]
    figure = figures.comparison(evidence, room, runs, ["img-0002", "img-0001"])
    assert figure.headings[:2] == ("image", "truth") and len(figure.headings) == 4
    assert [len(row) for row in figure.panels] == [4, 4]
    assert [panel.size for panel in figure.panels[0]] == [(192, round(192 * 18 / 30))] * 4
    # Where the truth is class k its panel has that class's colour, see-through over the photo, which is grey there.
    labels = keepsakes.read_map(room.pictures["img-0002"][1])
    painted = np.asarray(figure.panels[0][1]).astype(float)
    row, column = figure.panels[0][0].height // 2, 40
    number = int(labels[9, int(40 / 192 * 30)])
    grey = np.asarray(figure.panels[0][0].convert("L").convert("RGB")).astype(float)
    expected = 0.25 * grey[row, column] + 0.75 * np.array(colours.colour(number))
    assert np.abs(painted[row, column] - expected).max() <= 2
    assert figure.legend[-1] == ("not scored", None)
    _hatched_where_not_scored(labels, grey, [np.asarray(panel).astype(float) for panel in figure.panels[0][1:]])


def _hatched_where_not_scored(
    labels: Labels, photo: NDArray[np.float64], panels: Sequence[NDArray[np.float64]]
) -> None:
    """In every panel alike, veil and lines over the bare image: whatever a run gave there is not painted."""
    height, width = photo.shape[:2]
    rows = (2 * np.arange(height) + 1) * labels.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * labels.shape[1] // (2 * width)
    unscored = np.isin(labels, (0, 65535))[np.ix_(rows, columns)]
    assert unscored.any() and not unscored.all()
    layers = [np.array(rgba, float) for rgba in ((236, 239, 241, 105), (38, 44, 50, 120))]
    veil, line = (photo + layer[3] / 255 * (layer[:3] - photo) for layer in layers)
    for panel in panels:
        apart = [np.abs(panel - expected).max(axis=2)[unscored] for expected in (veil, line)]
        assert np.minimum(*apart).max() <= 2
        assert 0.1 < (apart[1] <= 2).mean() < 0.4 < (apart[0] <= 2).mean()
        assert not np.array_equal(panel[~unscored], photo[~unscored])


def test_the_strip_is_ordered_by_timestep_of_one_method(evidence: Evidence, room: Room) -> None:
    figure = figures.timestep_strip(evidence, room)
    assert figure is not None
    assert figure.headings == ("image", "Seg refine=sar\nt = 1", "Seg refine=sar\nt = 300")
    assert len(figure.panels) == figures.IMAGES


def test_png_and_svg_show_the_same(evidence: Evidence, room: Room) -> None:
    figure = figures.comparison(evidence, room)
    with Pillow.open(io.BytesIO(sheet.to_png(figure))) as picture:
        assert picture.size == figure.size
        for left, top, panel in figure.corners():
            box = (left, top, left + panel.width, top + panel.height)
            assert np.array_equal(np.asarray(picture.crop(box)), np.asarray(panel))
    root = ElementTree.fromstring(sheet.to_svg(figure))
    assert (int(root.get("width", 0)), int(root.get("height", 0))) == figure.size
    assert len(root.findall(f"{SVG}image")) == sum(len(row) for row in figure.panels) + 1  # what hatching means
    words = [element.text for element in root.findall(f"{SVG}text")]
    assert toy_results.EVIL in words  # as a word, not as an element
    assert root.find(f".//{SVG}script") is None


def test_a_run_or_image_without_map_is_refused(evidence: Evidence, room: Room) -> None:
    with pytest.raises(StoreError, match="no label map of image 'img-0029' is kept"):
        figures.comparison(evidence, room, image_ids=["img-0029"])
    with pytest.raises(StoreError, match="no label map of run 'x' is kept"):
        figures.comparison(evidence, room, run_ids=["x"])


def test_the_command_writes_both_figures_twice(toys: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(toys.folder), "--out", str(tmp_path), "--benchmark", "Bricks"]) == 0
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["comparison.png", "comparison.svg", "timestep.png", "timestep.svg"]
    assert main([str(toys.folder), "--benchmark", "Brick"]) == 2
    assert "no label maps of 'Brick' are kept (benchmarks: Toys, Bricks)" in capsys.readouterr().err


def test_a_folder_without_maps_says_what_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy_results.fill(tmp_path, images=3, keep=0)
    assert main([str(tmp_path)]) == 2
    assert "keep: {label_maps: 8}" in capsys.readouterr().err


def test_error_maps_are_wrong_right_or_not_scored() -> None:
    truth = np.array([[0, 1, 2], [65535, 1, 2]], np.uint16)
    predicted = np.array([[0, 1, 1], [1, 65535, 2]], np.uint16)
    right, wrong, out = colours.RIGHT, colours.WRONG, colours.NOT_SCORED
    assert colours.error_map(predicted, truth, False).tolist() == [[out, right, wrong], [out, wrong, right]]
    assert colours.error_map(predicted, truth, True).tolist() == [[right, right, wrong], [out, wrong, right]]


def test_colours_of_150_classes_differ() -> None:
    assert len({colours.colour(number) for number in range(1, 151)}) == 150
