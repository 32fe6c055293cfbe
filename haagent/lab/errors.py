"""The one exception of the laboratory."""


class LabError(Exception):
    """The laboratory cannot do what was asked; the text says why, for a person."""
