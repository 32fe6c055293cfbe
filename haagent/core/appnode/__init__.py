"""An app node itself: its settings, and when it says what (``haagent node``)."""
