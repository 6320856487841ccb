"""The functions of ``keyturn``, with error messages worded for Python.

The library's messages name options as the command line writes them. For callers of these functions, the
messages name Python arguments instead, see :func:`~keyturn.front.wording.in_python`.
"""

from keyturn.core.errors import KeyturnError
from keyturn.front import audits, eliciting, frontiers, judging, loading, training
from keyturn.front.wording import in_python
from keyturn.rollouts.readers import Columns

audit = in_python(audits.audit)
elicit = in_python(eliciting.elicit)
frontier = in_python(frontiers.frontier)
judge = in_python(judging.judge)
load = in_python(loading.load)
train = in_python(training.train)

__all__ = ["Columns", "KeyturnError", "audit", "elicit", "frontier", "judge", "load", "train"]
