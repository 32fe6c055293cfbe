"""Deterministic simulation: real agents, a simulated world, everything from one seed.

:func:`haagent.sim.swarm.simulate` runs one seed with random faults; directed stories build
a :class:`haagent.sim.cluster.Cluster` and call its faults by name.
"""
