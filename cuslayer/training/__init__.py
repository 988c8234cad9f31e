"""Training runs: the loop, its log, its checkpoint, its configuration, its pictures."""

from cuslayer.training.checkpoint import Checkpoint, load_checkpoint
from cuslayer.training.config import Config, load_config
from cuslayer.training.run import CONFIG, find_run, train
from cuslayer.training.stats import EpochStats, load_stats, save_stats
from cuslayer.training.trainer import Score, Trainer

__all__ = [
    "CONFIG",
    "Checkpoint",
    "Config",
    "EpochStats",
    "Score",
    "Trainer",
    "find_run",
    "load_checkpoint",
    "load_config",
    "load_stats",
    "save_stats",
    "train",
]
