"""The functions of ``keyturn``, whose errors speak Python.

Messages of the library name options as the command line writes them; who calls a function is told the same in
its own words, see :func:`~keyturn.front.wording.in_python`.
"""

from keyturn.core.errors import KeyturnError
from keyturn.front import audits, judging, loading, training
from keyturn.front.wording import in_python
from keyturn.rollouts.readers import Columns

audit = in_python(audits.audit)
judge = in_python(judging.judge)
load = in_python(loading.load)
train = in_python(training.train)

__all__ = ["Columns", "KeyturnError", "audit", "judge", "load", "train"]
