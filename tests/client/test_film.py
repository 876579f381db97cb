"""The overlay film: true times, one size."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from masklet.cli.film import Film


def shown(file: Path) -> tuple[list[float], list[np.ndarray]]:
    with av.open(str(file)) as film:
        frames = list(film.decode(video=0))
        return [frame.time for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]


def plain(height: int, width: int, value: int) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_every_picture_is_shown_at_its_own_time(tmp_path):
    times = [10.0, 10.04, 10.073, 11.4, 11.4, 13.0]  # from a stream that began earlier; a gap; one that does not move on
    film = Film(tmp_path / "film.mp4", 30)
    for index, time in enumerate(times):
        film.add(plain(48, 64, 40 * index), time)
    film.close()
    got, pictures = shown(tmp_path / "film.mp4")
    assert np.abs(np.array(got) - [0, 0.04, 0.073, 1.4, 1.4, 3.0]).max() < 1e-4, got
    assert np.all(np.diff(got) > 0)
    assert [round(picture.mean() / 40) for picture in pictures] == [0, 1, 2, 3, 4, 5]


def test_rates_of_television_are_exact(tmp_path):
    film = Film(tmp_path / "film.mp4", 30000 / 1001)
    for index in range(30):
        film.add(plain(48, 64, 0), index * 1001 / 30000)
    film.close()
    got, _ = shown(tmp_path / "film.mp4")
    np.testing.assert_allclose(got, [index * 1001 / 30000 for index in range(30)], atol=1e-9)


def test_other_sizes_are_scaled_to_fit_the_first(tmp_path):
    film = Film(tmp_path / "film.mp4", 25)
    pictures = [plain(48, 64, 200), plain(96, 128, 200), plain(48, 128, 200), plain(96, 64, 200), plain(49, 65, 200)]
    for index, picture in enumerate(pictures):
        film.add(picture, index / 25)
    film.close()
    _, (first, larger, wider, taller, odd) = shown(tmp_path / "film.mp4")
    assert {picture.shape for picture in (first, larger, wider, taller, odd)} == {(48, 64, 3)}
    for whole in (first, larger, odd):
        assert abs(whole.astype(int) - 200).max() < 8
    assert wider[:8].max() < 40, "black above"
    assert abs(wider[16:32].astype(int) - 200).max() < 8
    assert taller[:, :12].max() < 40, "black beside"
    assert abs(taller[:, 20:44].astype(int) - 200).max() < 8


def test_a_film_of_nothing_is_no_file(tmp_path):
    Film(tmp_path / "film.mp4", 25).close()
    assert not (tmp_path / "film.mp4").exists()


def test_the_same_pictures_make_the_same_file(tmp_path):
    """Of x264's fast code for its macroblock tree, two of twelve films like this one differed from the others."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 112, 3), np.uint8)
    pictures = [
        np.clip(plain(64, 112, 90) + np.roll(noise[0], 3 * index, axis=1) // 4 + noise[index] // 16, 0, 255).astype(np.uint8) for index in range(40)
    ]

    def film(name: str) -> bytes:
        made = Film(tmp_path / name, 25)
        for index, picture in enumerate(pictures):
            made.add(picture, index / 25)
        made.close()
        return (tmp_path / name).read_bytes()

    assert len({film(f"{index}.mp4") for index in range(20)}) == 1
