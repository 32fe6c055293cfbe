"""The world outside: each module one part of it, none knows another."""
