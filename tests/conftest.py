"""Property tests draw the same examples every time, so that a run can be repeated, however busy the machine."""

import gc
import signal

from hypothesis import settings

settings.register_profile("house", derandomize=True, deadline=None)
settings.load_profile("house")

# What torch and transformers leave behind at import is looked at for garbage less often: a tenth of their time.
gc.set_threshold(100_000, 20, 20)

# A run begun in the background inherits signals that are ignored (`command &` SIGINT, nohup SIGHUP), and so
# would the processes that the tests begin and interrupt.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (getattr(signal, "SIGHUP", None), signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)
