"""haagent keeps a virtual IP, and the HAProxy behind it, alive across Linux servers."""
