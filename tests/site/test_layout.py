"""The map's places: apart, inside, where they were, and the same every time."""

import json

import numpy as np
import pytest

from keyturn.core.streams import Streams
from keyturn.report.page import asset
from keyturn.site import layout
from keyturn.site.boxes import Box, box_of, edge_point, wrap
from keyturn.site.files import known_places
from keyturn.site.layout import covered, crossings, place
from keyturn.site.views.notes import WIDTH, map_boxes, places_of

BOXES = [box_of(f"n{i:02}", f"Does the question number {i} fit into its box?", i % 4, 150) for i in range(24)]
LINKS = [(f"n{i:02}", f"n{(i * 7 + 1) % 24:02}") for i in range(24)]


def overlapping(boxes, at):
    found = []
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            dx, dy = abs(at[a.id][0] - at[b.id][0]), abs(at[a.id][1] - at[b.id][1])
            if dx < (a.width + b.width) / 2 and dy < (a.height + b.height) / 2:
                found.append((a.id, b.id))
    return found


def test_boxes_stand_apart_inside_and_the_same_every_time():
    found = place(BOXES, LINKS, {}, width=1000)
    assert overlapping(BOXES, found) == []
    for box in BOXES:
        x, y = found[box.id]
        assert box.width / 2 <= x <= 1000 - box.width / 2
        assert y >= box.height / 2
    assert found == place(list(BOXES), list(reversed(LINKS)), {}, width=1000)


def test_known_boxes_stay_and_a_new_one_comes_near_its_neighbours():
    known = place(BOXES[:-1], LINKS, {}, width=1000)
    found = place(BOXES, LINKS, known, width=1000)
    assert {name: found[name] for name in known} == known
    assert overlapping(BOXES, found) == []
    last = BOXES[-1].id
    near = [b if a == last else a for a, b in LINKS if last in (a, b)]
    middle = np.mean([known[name] for name in near if name in known], axis=0)
    assert np.linalg.norm(np.array(found[last]) - middle) < 420


def test_a_new_box_without_neighbours_and_a_single_one_have_a_place():
    lone = box_of("lone", "Is there anybody?", 1, 150)
    found = place([*BOXES, lone], LINKS, place(BOXES, LINKS, {}, width=1000), width=1000)
    assert overlapping([*BOXES, lone], found) == []
    assert set(place([lone], [], {}, width=1000)) == {"lone"}
    assert place([], [], {}, width=1000) == {}


def test_the_search_makes_the_map_calmer():
    many = [(a.id, b.id) for i, a in enumerate(BOXES) for j, b in enumerate(BOXES) if (i * 5 + j * 3) % 17 == 0]

    def cost(at):
        frame = layout._Frame(BOXES, many, 1000)
        frame.at = np.array([at[box.id] for box in BOXES])
        starts, ends = frame.at[frame.pairs[:, 0]], frame.at[frame.pairs[:, 1]]
        return crossings(starts, ends, frame.apart) + covered(starts, ends, frame.foreign, frame.at, frame.half)

    plain = place(BOXES, many, {}, width=1000)
    assert cost(place(BOXES, many, {}, width=1000, moves=1200)) < cost(plain)


def test_crossings_and_covered_lines_are_counted_as_by_hand():
    generator = Streams(3).generator("lines")
    starts, ends = generator.random((12, 2)) * 100, generator.random((12, 2)) * 100

    def turns(p, q, r):
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    by_hand = sum(
        turns(starts[i], ends[i], starts[j]) * turns(starts[i], ends[i], ends[j]) < 0
        and turns(starts[j], ends[j], starts[i]) * turns(starts[j], ends[j], ends[i]) < 0
        for i in range(12)
        for j in range(i)
    )
    apart = ~np.eye(12, dtype=bool)
    assert crossings(starts, ends, apart) == by_hand > 0
    assert crossings(starts, ends, np.zeros((12, 12), dtype=bool)) == 0
    box, half = np.array([[50.0, 50.0]]), np.array([[10.0, 5.0]])
    lines = (
        np.array([[0.0, 50.0], [0.0, 80.0], [50.0, 50.0]]),
        np.array([[100.0, 50.0], [100.0, 80.0], [50.0, 51.0]]),
    )
    foreign = np.ones((3, 1), dtype=bool)
    assert covered(*lines, foreign, box, half) == 2
    assert covered(*lines, ~foreign, box, half) == 0


def test_the_shipped_map_has_every_note_and_no_two_boxes_touch(source, tmp_path):
    shipped = json.loads(asset("places.json", "site"))["places"]
    assert set(source.atlas.notes) == set(shipped), "place the map again: python docs/map_places.py"
    places = places_of(source, known_places(tmp_path))
    assert overlapping(map_boxes(source), places) == []
    assert max(x for x, _ in places.values()) < WIDTH


@pytest.mark.parametrize("words", ["one", "a b c d e f g h i j k l m n o p q r s t u v w x y z", "x" * 400])
def test_wrapping_loses_no_word(words):
    assert " ".join(wrap(words, 120)) == words


def test_a_line_leaves_a_box_at_its_edge():
    box = Box(id="a", lines=(), marks=0, width=100, height=40)
    assert edge_point(box, (0, 0), (200, 0)) == (50, 0)
    assert edge_point(box, (0, 0), (0, -90)) == (0, -20)
    assert edge_point(box, (0, 0), (10, 5)) == (10, 5), "a point inside is the end"
