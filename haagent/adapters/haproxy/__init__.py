"""The local HAProxy: its servers by the Runtime API, and a configuration file that has them too.

``runtime`` keeps the servers as wanted, and is the fast way.  ``file`` writes the file that
survives a restart of HAProxy, checks it, has HAProxy reload it and takes it back where that
fails; ``rendering`` makes its text.  ``traffic`` asks what the servers do.  Each works in a
thread of its own: HAProxy, a disk or ten thousand servers may take their time, and the loop does
not wait for any of them.
"""
