"""Bytes on the network to values of the core and back; pure, and total on what it reads."""
