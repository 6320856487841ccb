"""Property tests draw the same examples every time, so that a run can be repeated, however busy the machine."""

from hypothesis import settings

settings.register_profile("house", derandomize=True, deadline=None)
settings.load_profile("house")
