"""Two releases at once: each sweeps the store, and neither trips over what the other has dropped."""

from pathlib import Path

from workflow_scripts.checkpoints import content_store
from workflow_scripts.checkpoints.content_store import Store


def test_a_content_that_another_sweep_dropped_is_no_error(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.weights.mkdir()
    for name in ("a", "b"):
        (store.weights / name).write_bytes(b"x" * 10)
    released = {(store.weights / name).stat().st_ino for name in ("a", "b")}
    stat = Path.stat

    def dropped_in_between(self, **options):
        if self.name == "a":
            self.unlink(missing_ok=True)
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", dropped_in_between)
    assert store.sweep(released) == 10
    assert list(store.weights.iterdir()) == []


def test_weights_that_a_fetch_is_about_to_take_are_not_swept(tmp_path, monkeypatch):
    """The workflow has just deleted the other name, to run a job again; another checkpoint is released meanwhile."""
    store = Store(tmp_path)
    store.weights.mkdir()
    alone, released = store.weights / "alone", store.weights / "released"
    for path in (alone, released):
        path.write_bytes(b"x" * 10)
    assert store.sweep({released.stat().st_ino}) == 10
    assert alone.is_file()
    monkeypatch.setattr(content_store, "ORPHAN_SECONDS", -1.0)
    assert store.sweep() == 10
    assert not alone.exists()
