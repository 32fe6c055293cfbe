"""HAProxy as text: its Runtime API and master socket, and the lines of its configuration file.

``framing`` asks and takes answers apart, ``tables`` reads them, ``changes`` says which commands
lead to the wanted list and how it ended, ``configuration`` writes and reads server lines.

What this package does not do: open a socket or a file (``haagent.adapters.haproxy``), or decide
which servers are wanted (``haagent.core.backends``).

Source: HAProxy 2.6 management guide 9.3 and 9.4, and the behaviour of 2.6.12 where they differ.
"""
