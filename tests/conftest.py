"""How examples are drawn for every test: alike in every run, and without a limit of time.

What is found at random would fail the change that happens to be tested then.  To look for more:
``./tests/run --hypothesis-profile=default tests/properties``.
"""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
