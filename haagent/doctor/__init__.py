"""``haagent doctor``: what is wrong between the agents and on this machine, and what to do.

- ``gather``: all facts of one visit, from ``listen`` (some seconds on every path; ``tally`` counts,
  ``connect`` asks for a port) and ``machine`` (kernel, firewall, HAProxy, other managers).
- ``facts``: these facts, as values.
- ``examine``: all findings, from ``network`` (paths), ``cluster`` (names, files, clocks, masters,
  addresses) and ``host``; each is a pure function of the facts.
- ``findings``: what a finding is.
- ``vendors``: whose a MAC address is.

What this package does not do: change anything.  Nothing that it sends is taken in by an agent: it
asks in a boot of its own, which no peer will ever believe.
"""
