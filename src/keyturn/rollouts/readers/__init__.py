"""Readers of sample files, our own and those of other tools."""

from keyturn.rollouts.readers.columns import Columns
from keyturn.rollouts.readers.memory import records_in
from keyturn.rollouts.readers.pairing import PairedSamples, pair
from keyturn.rollouts.readers.samples import Samples, read_samples, samples_of
from keyturn.rollouts.readers.write import write_samples

__all__ = [
    "Columns",
    "PairedSamples",
    "Samples",
    "pair",
    "read_samples",
    "records_in",
    "samples_of",
    "write_samples",
]
