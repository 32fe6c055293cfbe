"""The app nodes as an agent knows them: who is there, who has died, what each gets to serve.

:mod:`~haagent.core.fleet.registry` hears them and judges; :mod:`~haagent.core.fleet.serving` makes
servers of them.
"""
