"""Networks in words: the grammar that strings and YAML share, and SLAYER's names of a neuron's constants."""

from cuslayer.notation.build import build
from cuslayer.notation.neurons import NEURONS, Neuron, make_neuron, neuron_constants
from cuslayer.notation.words import GRAMMAR, TAKES, Word, article, kind_of, read_words, rows_first

__all__ = [
    "GRAMMAR",
    "NEURONS",
    "TAKES",
    "Neuron",
    "Word",
    "article",
    "build",
    "kind_of",
    "make_neuron",
    "neuron_constants",
    "read_words",
    "rows_first",
]
