"""Whether what an agent or an app node depends on works: each kind of check is one function.

A function takes what is to be looked at and a time limit, and returns a :class:`Result
<haagent.adapters.checks.result.Result>`.  It blocks for no longer than the limit, so it is called
in a thread, and it raises for nothing that the world does.

What these modules do not do: repeat a check, count failures, or decide what follows from them.
"""
