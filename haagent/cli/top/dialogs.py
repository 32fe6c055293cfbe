"""What ``haagent top`` asks and tells over the screen: confirmations, choices, refusals, help.

Each says what will happen before it does; Escape leaves everything as it is.
"""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

HELP = """\
f  failover: hand a group over to an agent of your choice
d  drain: hand over, and keep this agent out of being master
u  undrain: end a drain
   each says what will happen, and asks, before it is done
?  this page
q  quit

Tab  between the cluster and the events; arrows, PgUp, PgDn, Home,
     End scroll; at its end the list of events follows what comes

A dash is what is not known (yet).  The cause of an event is the
number of one of the same agent.\
"""


class _Dialog(ModalScreen[bool]):
    """A title and text; what ends it depends on the class."""

    KEYS = ""

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """Return the parts, the keys in the lower border."""
        # Names and reasons come from configuration and from peers: nothing in them is markup.
        with Vertical() as box:
            box.border_title = Content(self._title)
            box.border_subtitle = self.KEYS
            yield Static(self._text, markup=False)

    def action_close(self, answer: bool) -> None:
        """End with ``answer``."""
        self.dismiss(answer)


class Confirmation(_Dialog):
    """Ends with whether it is to be done; no key does that which one hits by habit."""

    KEYS = "y: do it, n: leave it"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "close(True)"),
        Binding("n,escape,q,ctrl+c", "close(False)"),
    ]


class Notice(_Dialog):
    """Something to be read before one goes on."""

    KEYS = "Esc: back"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,space,q,question_mark,ctrl+c", "close(True)"),
    ]


class Choice(ModalScreen[int | None]):
    """Ends with the number of the line that is chosen, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,ctrl+c", "leave")]

    def __init__(self, title: str, lines: list[str]) -> None:
        super().__init__()
        self._title = title
        self._lines = lines

    def compose(self) -> ComposeResult:
        """Return the parts, the keys in the lower border."""
        with Vertical() as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "arrows, Enter: choose, Esc: leave it"
            yield OptionList(*(Option(Content(line)) for line in self._lines))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """End with the choice."""
        self.dismiss(event.option_index)

    def action_leave(self) -> None:
        """End without a choice."""
        self.dismiss(None)
