"""``haagent top``: the cluster on a whole terminal, live, with keys to steer the agent.

``command`` begins it, ``app`` is the screen and its keys, ``panels`` and ``tail`` are what is on
it, ``dialogs`` what is asked before anything is done.  docs/top.md says how it is used.
"""
