"""A run without a configuration: the embedded digits."""

from __future__ import annotations

from cuslayer.training import Config, data_of_run, train
from tests.support.tiny import FILES, silent


def test_the_embedded_digits(tmp_path, monkeypatch):
    # The whole set takes minutes: only a few recordings are used here, read in the same way.
    chosen = {}

    class Few(data_of_run.Digits):
        def __init__(self, split, seed=0):
            super().__init__(split, seed)
            chosen[split] = seed
            self._number, self.labels = self._number[:4], self.labels[:4]

    monkeypatch.setattr(data_of_run, "Digits", Few)
    config = Config(layers=("34x34x2", "10"), epochs=1, batch=4, out=str(tmp_path / "out"))
    assert sorted(p.name for p in train(config, log=silent).iterdir()) == FILES
    assert chosen == {"train": 0, "test": 0}
