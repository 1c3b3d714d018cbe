"""What a killed export leaves behind goes with the next one; what a living one writes stays."""

import fcntl

from cdrzoo.export.saving import _held, _unfinished


def test_leftovers_of_the_dead_go(tmp_path):
    for name in (".export-dead", ".export-living", "3"):
        (tmp_path / name).mkdir()
    (tmp_path / ".export-dead" / "saved_model.pb").touch()
    with _held(tmp_path / ".export-living", fcntl.LOCK_EX), _unfinished(tmp_path) as made:
        assert {path.name for path in tmp_path.iterdir()} == {".export-living", "3", made.name}
        made.rename(tmp_path / "4")
    assert {path.name for path in tmp_path.iterdir()} == {".export-living", "3", "4"}


def test_a_failure_leaves_nothing(tmp_path):
    try:
        with _unfinished(tmp_path) as made:
            (made / "half").touch()
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert not list(tmp_path.iterdir())
