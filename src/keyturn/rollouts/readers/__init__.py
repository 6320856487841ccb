"""Readers of sample files, ours and other tools'."""

from keyturn.rollouts.readers.columns import Columns
from keyturn.rollouts.readers.pairing import Pair, pair
from keyturn.rollouts.readers.samples import Samples, read_samples
from keyturn.rollouts.readers.write import write_samples

__all__ = ["Columns", "Pair", "Samples", "pair", "read_samples", "write_samples"]
