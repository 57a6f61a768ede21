"""Two releases at once: each sweeps the store, and neither trips over what the other has dropped."""

from pathlib import Path

from workflow_scripts.checkpoints.content_store import Store


def test_a_content_that_another_sweep_dropped_is_no_error(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.weights.mkdir()
    for name in ("a", "b"):
        (store.weights / name).write_bytes(b"x" * 10)
    stat = Path.stat

    def dropped_in_between(self, **options):
        if self.name == "a":
            self.unlink(missing_ok=True)
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", dropped_in_between)
    assert store.sweep() == 10
    assert list(store.weights.iterdir()) == []
