"""The screen of ``haagent top`` and its keys.

What is asked of the agent is awaited beside the keys, never before them: an agent that hangs or
is gone leaves the last that it told on the screen, with since when, and is asked again.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable
from contextlib import aclosing
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Footer, Static

from haagent.cli import steer
from haagent.cli.status_screen import duration
from haagent.cli.top import dialogs, plans
from haagent.cli.top.panels import panels
from haagent.cli.top.tail import Tail
from haagent.control import client, haagent_pb2 as pb, live

_SILENCE_S = 3.0
"""The agent tells its status once a second at least."""

_EVENTS_S = 15.0
"""Between two parts of the events; with nothing to tell there is an empty one every few seconds."""

_ASKED_S = 10.0
"""As long as the commands ``drain`` and ``failover`` wait for an answer."""

_AGAIN_S = 0.5
_RECENT_MS = 600_000


class Top(App[None]):
    """See the module docstring."""

    TITLE = "haagent top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "failover", "failover"),
        Binding("d", "drain", "drain"),
        Binding("u", "undrain", "undrain"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q,ctrl+c", "quit", "quit", key_display="q"),
    ]
    CSS = """
    #head { height: auto; max-height: 5; text-style: reverse; }
    #cluster { height: auto; max-height: 68%; padding: 0 1; }
    #events { height: 1fr; min-height: 4; padding: 0 1; border-top: solid ansi_default; }
    #events:focus { border-top: heavy ansi_default; }
    #cluster, #events { scrollbar-size-vertical: 1; }
    ModalScreen { align: center middle; }
    ModalScreen > Vertical {
        width: 76; max-width: 96%; height: auto; max-height: 90%; padding: 1 2;
        border: double ansi_default; background: ansi_default;
    }
    OptionList { height: auto; border: none; background: ansi_default; }
    """

    def __init__(self, socket: Path) -> None:
        # The terminal's own colours: they suit it, be it light or dark.
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self._socket = socket
        self._status: pb.StatusReply | None = None
        self._heard = time.monotonic()
        self._trouble = ""
        self._tail = Tail()
        self._missing: dict[str, str] = {}
        # Not asked for by name: a dialog is another screen, and has none of them.
        self._head = Static("", id="head")
        self._panels = Static("")
        self._list = Static(self._tail.shown())
        self._events = VerticalScroll(self._list, id="events")

    def compose(self) -> ComposeResult:
        """Return the parts from top to bottom."""
        yield self._head
        yield VerticalScroll(self._panels, id="cluster")
        yield self._events
        yield Footer()

    def on_mount(self) -> None:
        """Begin to ask."""
        self._events.border_title = "events"
        self._events.anchor()
        self._show_head()
        self.set_interval(1, self._show_head)
        self._watch()
        self._follow()

    @work
    async def _watch(self) -> None:
        while True:
            try:
                async with aclosing(live.watch(self._socket, _SILENCE_S)) as replies:
                    async for reply in replies:
                        self._show(reply)
            except client.AgentUnreachable as error:
                self._trouble = str(error)
                self._show_head()
            await asyncio.sleep(_AGAIN_S)

    @work
    async def _follow(self) -> None:
        request = pb.EventsRequest(since_ms=_RECENT_MS, follow=True, cluster=True)
        while True:
            try:
                async with aclosing(live.events(self._socket, _EVENTS_S, request)) as parts:
                    async for part in parts:
                        self._show_events(part)
            except client.AgentUnreachable:
                pass  # The head says it.
            await asyncio.sleep(_AGAIN_S)

    def _show(self, reply: pb.StatusReply) -> None:
        self._status, self._heard, self._trouble = reply, time.monotonic(), ""
        self._panels.update(panels(reply))
        self._show_head()

    def _show_head(self) -> None:
        self._head.update(_head(self._status, self._lost()))

    def _lost(self) -> str:
        """Return since when and why there is no news; empty while there is."""
        if not self._trouble:
            return ""
        silence_ms = int((time.monotonic() - self._heard) * 1000)
        return f"NO ANSWER for {duration(silence_ms)}: {self._trouble}"

    def _show_events(self, part: pb.EventsReply) -> None:
        if part.events:
            self._tail.add([*part.events])
            self._list.update(self._tail.shown())
        self._missing[part.node] = part.missing or part.trouble
        missing = (f", not all of {node}: {why}" for node, why in self._missing.items() if why)
        self._events.border_title = Content(f"events{''.join(missing)}")

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(dialogs.Notice("keys", dialogs.HELP))

    @work
    async def action_failover(self) -> None:
        """Ask which group goes where, and whether it should; ask the agent for it."""
        # What the operator has seen; if that has changed when he is done the agent refuses.
        status = self._status
        if status is None:
            return
        moves = plans.moves(status)
        if not moves:
            self.push_screen(dialogs.Notice("failover", plans.why_no_move(status)))
            return
        choice = dialogs.Choice("failover of", [move.line for move in moves])
        chosen = await self.push_screen_wait(choice)
        if chosen is None:
            return
        move = moves[chosen]
        if await self._confirmed(f"failover of {move.group} to {move.to}?", move.text(status)):
            seen = client.seen(status, move.group)
            request = pb.FailoverRequest(group=move.group, to=move.to, seen=seen, id=_new_id())
            await self._ask("failover", live.fail_over(self._socket, _ASKED_S, request))

    @work
    async def action_drain(self) -> None:
        """Ask whether the agent should be drained; ask it for that."""
        status = self._status
        if status and await self._confirmed(f"drain {status.node}?", plans.drain_text(status)):
            request = pb.DrainRequest(seen=client.seen(status), id=_new_id())
            await self._ask("drain", live.drain(self._socket, _ASKED_S, request))

    @work
    async def action_undrain(self) -> None:
        """Ask whether the drain should end; ask the agent for that."""
        status = self._status
        if status and await self._confirmed(f"undrain {status.node}?", plans.undrain_text(status)):
            request = pb.UndrainRequest(seen=client.seen(status), id=_new_id())
            await self._ask("undrain", live.undrain(self._socket, _ASKED_S, request))

    async def _confirmed(self, title: str, text: str) -> bool:
        return await self.push_screen_wait(dialogs.Confirmation(title, text))

    async def _ask(
        self, command: str, call: Awaitable[pb.SteerReply] | Awaitable[pb.FailoverReply]
    ) -> None:
        try:
            reply = await call
        except client.AgentUnreachable as error:
            text = f"{error}\n\nIt may happen all the same: see the screen."
            self.push_screen(dialogs.Notice(f"{command}: no answer", text))
            return
        if reply.outcome == "refused":
            title = f"{command} refused, nothing has changed"
            self.push_screen(dialogs.Notice(title, "\n".join(reply.lines)))
        else:
            self.notify(_news(command, reply), markup=False)


def _new_id() -> str:
    return uuid.uuid4().hex


def _head(status: pb.StatusReply | None, lost: str) -> Text:
    if status is None:
        return Text(f" haagent top  {lost or 'asking the agent'}")
    alarms = f"alarms: {len(status.alarms)}" if status.alarms else "no alarms"
    place = f" cluster {status.cluster} as {status.node} sees it  {status.time[:19]}Z  {alarms}"
    return Text(f" {lost}\n the last news:{place}" if lost else place)


def _news(command: str, reply: pb.SteerReply | pb.FailoverReply) -> str:
    if isinstance(reply, pb.SteerReply):
        return steer.news(command, reply)
    if reply.outcome == "begun":
        return f"the handover to {reply.to} has begun"
    return f"{reply.to} is master already"
