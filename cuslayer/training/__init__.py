"""Training runs: the loop, its log, its checkpoint, its configuration, its pictures."""

from cuslayer.training.checkpoint import Checkpoint, load_checkpoint
from cuslayer.training.config import Config
from cuslayer.training.gradients import GradientFlow
from cuslayer.training.load import load_config
from cuslayer.training.log import Stats
from cuslayer.training.params import Params
from cuslayer.training.run import CONFIG, find_run, train
from cuslayer.training.stats import EpochStats, load_stats, save_stats
from cuslayer.training.tally import Score, Tally
from cuslayer.training.trainer import Trainer

__all__ = [
    "CONFIG",
    "Checkpoint",
    "Config",
    "EpochStats",
    "GradientFlow",
    "Params",
    "Score",
    "Stats",
    "Tally",
    "Trainer",
    "find_run",
    "load_checkpoint",
    "load_config",
    "load_stats",
    "save_stats",
    "train",
]
