"""Scenes: held out by their content, drawn as captioned; batches that depend on a cursor."""

import numpy as np
import pytest

from seqmodels.data import captions, vocabulary
from seqmodels.data.captions import BATCH_AXES, CaptionedImages
from seqmodels.datasets import emoji_scenes, number_images
from seqmodels.tasks import digits

WORDS = {"en": number_images.WORDS["en"], "de": number_images.WORDS["de"]}


@pytest.fixture(scope="module")
def emoji():
    return emoji_scenes.scenes()


def sets(combinations):
    return {tuple(sorted(one)) for one in combinations.tolist()}


@pytest.mark.parametrize(
    ("make", "pictures", "total"),
    [
        (number_images.scenes, 2, 55),
        (number_images.scenes, 3, 220),
        (emoji_scenes.scenes, 2, 60 * 59 // 2),
        (emoji_scenes.scenes, 3, 60 * 59 * 58 // 6),
    ],
)
def test_no_combination_is_in_two_splits(make, pictures, total):
    scenes = make("en", pictures)
    parts = [sets(scenes.combinations[split]) for split in captions.SPLITS]
    assert len(set.union(*parts)) == sum(map(len, parts)) == total
    assert min(map(len, parts)) > 0
    every = {item for part in parts for one in part for item in one}
    assert {item for one in parts[0] for item in one} == every
    again = make("de", pictures)
    for split in captions.SPLITS:
        np.testing.assert_array_equal(scenes.combinations[split], again.combinations[split])


@pytest.mark.parametrize("language", ["en", "de"])
def test_digits_are_told_from_left_to_right(language):
    scenes = number_images.scenes(language, 3)
    known = {}
    for split, (x, y) in digits.load_splits().items():
        for image, digit in zip((255 * x).astype(np.uint8), y, strict=True):
            known[split, image.tobytes()] = int(digit)
    for split in captions.SPLITS:
        drawn = captions.draw_scenes(scenes, split, 50)
        assert drawn.images.shape == (50, 8, 24, 1)
        for image, caption in zip(drawn.images, drawn.captions, strict=True):
            tiles = [image[:, 8 * n : 8 * n + 8] for n in range(3)]
            shown = [known[split, np.ascontiguousarray(tile).tobytes()] for tile in tiles]
            assert " ".join(WORDS[language][digit] for digit in shown) == caption
            assert tuple(sorted(shown)) in sets(scenes.combinations[split])
    asked = captions.draw_scenes(scenes, "train", 5, pictures_of="test")
    assert all(("test", np.ascontiguousarray(i[:, :8]).tobytes()) in known for i in asked.images)


def matches(image, item):
    """Where the picture of an item is in a scene: (row, column) of its middle, and how badly."""
    best = np.inf, (0, 0)
    for size, glyphs in emoji_scenes.glyphs().items():
        glyph = glyphs[item]
        whole = glyph[..., 3] > 0.999
        windows = np.lib.stride_tricks.sliding_window_view(image / 255, (size, size), axis=(0, 1))
        errors = np.abs(windows - glyph[..., :3].transpose(2, 0, 1))[..., whole].max(axis=(2, 3))
        row, column = np.unravel_index(errors.argmin(), errors.shape)
        best = min(best, (errors[row, column], (row + size / 2, column + size / 2)))
    return best


@pytest.mark.parametrize("language", ["en", "de"])
def test_emoji_are_where_the_caption_says(language):
    """Found again in the picture by their pixels, not by how it was drawn."""
    names = emoji_scenes.names(language)
    drawn = captions.draw_scenes(emoji_scenes.scenes(language), "test", 24)
    across, down = emoji_scenes.RELATIONS[language]
    relations = set()
    for image, caption in zip(drawn.images, drawn.captions, strict=True):
        relation = down if f" {down} " in caption else across
        one, other = (names.index(name) for name in caption.split(f" {relation} "))
        (bad, first), (worse, second) = matches(image, one), matches(image, other)
        assert max(bad, worse) < 0.02
        axis = 0 if relation == down else 1
        assert first[axis] < second[axis]
        assert second[axis] - first[axis] > abs(second[1 - axis] - first[1 - axis]) - 4
        relations.add(relation)
    assert relations == {across, down}


def test_names_and_pictures(emoji):
    names = emoji_scenes.names("en")
    assert len(set(names)) == len(set(emoji_scenes.names("de"))) == len(emoji_scenes.EMOJI) == 60
    assert {"a red apple", "a dog face", "an egg"} <= set(names)
    assert {"roter apfel", "hundegesicht"} <= set(emoji_scenes.names("de"))
    for glyphs in emoji_scenes.glyphs().values():
        flat = glyphs.reshape(60, -1)
        gaps = np.abs(flat[:, None] - flat[None]).mean(-1) + np.eye(60)
        assert gaps.min() > 0.01
        assert 0 <= glyphs.min() <= glyphs.max() <= 1
        assert (glyphs[..., :3] <= glyphs[..., 3:] + 1e-6).all()
    three = captions.draw_scenes(emoji_scenes.scenes("en", 3), "test", 1)
    assert three.images.shape == (1, 72, 72, 3)
    assert sum(three.captions[0].count(word) for word in ("left of", "above")) == 2
    words = vocabulary.build(emoji.captions)
    for split in captions.SPLITS:
        tokens, _ = words.encode(captions.draw_scenes(emoji, split, 100).captions)
        assert vocabulary.UNK not in tokens


def test_drawn_scenes_are_always_the_same(emoji):
    one, again = (captions.draw_scenes(emoji, "validation", 6) for _ in range(2))
    np.testing.assert_array_equal(one.images, again.images)
    assert one.captions == again.captions
    other = captions.draw_scenes(emoji, "validation", 200, series=1)
    more = captions.draw_scenes(emoji, "validation", 200)
    both = {image.tobytes() for image in (*other.images, *more.images)}
    assert len(both) == 400
    np.testing.assert_array_equal(more.images[:6], one.images)
    found = {frozenset(caption.split(" above ")) for caption in more.captions if "above" in caption}
    assert len(found) > 60


def test_scene_batches(emoji):
    words = vocabulary.build(emoji.captions)
    batches = captions.scene_batches(emoji, words, 8, seed=3)
    assert (batches.per_epoch, batches.batch_axes) == (1239 // 8, BATCH_AXES)
    one, next_one = batches.at(5), batches.at(6)
    again = captions.scene_batches(emoji, words, 8, seed=3).at(5)
    np.testing.assert_array_equal(one.images, again.images)
    np.testing.assert_array_equal(one.tokens, again.tokens)
    assert one.tokens.shape == next_one.tokens.shape
    assert (one.images != next_one.images).any()
    assert (one.images != captions.scene_batches(emoji, words, 8, seed=4).at(5).images).any()
    for row in range(8):
        tokens = one.tokens[:, row]
        assert tokens[0] == vocabulary.BOS
        assert tokens[one.lengths[row] - 1] == vocabulary.EOS
        assert not tokens[one.lengths[row] :].any()
    halves = [
        captions.scene_batches(emoji, words, 8, seed=3, process=n, num_processes=2).at(5)
        for n in range(2)
    ]
    np.testing.assert_array_equal(np.concatenate([half.images for half in halves]), one.images)
    np.testing.assert_array_equal(np.concatenate([half.lengths for half in halves]), one.lengths)


def test_training_scenes_are_of_training_combinations(emoji):
    words = vocabulary.build(emoji.captions)
    names = emoji_scenes.names("en")
    batch = captions.scene_batches(emoji, words, 256, seed=0).at(0)
    for column in batch.tokens.T:
        caption = words.decode(column[1:])
        relation = " above " if " above " in caption else " left of "
        pair = tuple(sorted(names.index(name) for name in caption.split(relation)))
        assert pair in sets(emoji.combinations["train"])


@pytest.mark.parametrize(("number", "batch_size"), [(7, 3), (3, 8)])
def test_batches_of_what_is_there(number, batch_size):
    images = np.arange(number, dtype=np.uint8).reshape(-1, 1, 1, 1)
    data = CaptionedImages(images, tuple(f"w{n}" for n in range(number)))
    words = vocabulary.build(data.captions)
    batches = captions.captioned_batches(data, words, batch_size, seed=1)
    rows = np.concatenate([batches.at(n).images[:, 0, 0, 0] for n in range(number)])
    assert len(rows) == number * batch_size
    for epoch in rows.reshape(batch_size, number):
        assert sorted(epoch) == list(range(number))
    batch = batches.at(2)
    texts = [words.decode(column[1:]) for column in batch.tokens.T]
    assert texts == [f"w{n}" for n in batch.images[:, 0, 0, 0]]


def test_mistakes_are_named(emoji):
    for make in (number_images.scenes, emoji_scenes.scenes):
        with pytest.raises(ValueError, match="language: got 'fr', expected one of en, de"):
            make("fr")
        with pytest.raises(ValueError, match="pictures: got 5, expected 2"):
            make("en", 5)
    words = vocabulary.build(emoji.captions)
    with pytest.raises(ValueError, match="cursor: got -1"):
        captions.scene_batches(emoji, words, 8, seed=0).at(-1)
    with pytest.raises(ValueError, match="batch_size: got 3, expected a multiple of the 2"):
        captions.scene_batches(emoji, words, 3, seed=0, num_processes=2)
