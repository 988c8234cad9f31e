"""Training runs: loop, log, checkpoint, configuration, figures."""

from cuslayer.training.callbacks import EarlyStopping, Log
from cuslayer.training.checkpoint import Checkpoint, load_checkpoint
from cuslayer.training.config import Config, load_config
from cuslayer.training.finite import NotFiniteError
from cuslayer.training.load import (
    Prediction,
    Run,
    evaluate,
    example,
    load_run,
    predict,
    predict_test,
    read_batch,
    read_spikes,
)
from cuslayer.training.named import Named
from cuslayer.training.params import Params
from cuslayer.training.resume import config_of_run
from cuslayer.training.run import train
from cuslayer.training.run_folder import find_run
from cuslayer.training.saver import Stopped
from cuslayer.training.score import GradientFlow, Score, Tally
from cuslayer.training.stats import EpochStats, Stats, load_stats, save_stats
from cuslayer.training.trainer import Callback, Trainer

__all__ = [
    "Callback",
    "Checkpoint",
    "Config",
    "EarlyStopping",
    "EpochStats",
    "GradientFlow",
    "Log",
    "Named",
    "NotFiniteError",
    "Params",
    "Prediction",
    "Run",
    "Score",
    "Stats",
    "Stopped",
    "Tally",
    "Trainer",
    "config_of_run",
    "evaluate",
    "example",
    "find_run",
    "load_checkpoint",
    "load_config",
    "load_run",
    "load_stats",
    "predict",
    "predict_test",
    "read_batch",
    "read_spikes",
    "save_stats",
    "train",
]
