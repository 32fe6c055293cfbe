"""App nodes as the agent hears and answers them: the sockets, the wire format, the counting.

What this module does not do: know which nodes there are (``haagent.core``).
"""

from collections.abc import Callable

from haagent.adapters import clock
from haagent.adapters.datagrams.nodes import NodeDatagrams
from haagent.core.actions import AckNode
from haagent.core.events import NodesHeard
from haagent.core.messages import Discard, NodeHeartbeat
from haagent.core.settings import AgentSettings, IPAddress, NodesSettings
from haagent.core.units import MonoNs
from haagent.runtime.discards import Discards
from haagent.runtime.log import logger
from haagent.wire.node import AgentEnd


class Fleet:
    """See the module docstring."""

    def __init__(
        self,
        settings: AgentSettings,
        cluster_key: bytes,
        discards: Discards,
        post: Callable[[NodesHeard], None],
    ) -> None:
        self._discards = discards
        self._wire = AgentEnd(cluster_key, settings.cluster)
        self._datagrams = NodeDatagrams(
            settings=settings.nodes,
            heartbeat=settings.heartbeat,
            read=self._read,
            hear=post,
            now=clock.now,
            trouble=_tell,
        )

    async def run(self) -> None:
        """Hear app nodes, where any are wanted; until cancelled."""
        await self._datagrams.run()

    def change(self, settings: NodesSettings | None) -> None:
        """Hear app nodes where these settings say."""
        self._datagrams.settings = settings

    def answer(self, action: AckNode) -> None:
        """Send an answer.  Never blocks and never raises."""
        payload = self._wire.encode(action.ack)
        self._datagrams.send(action.way, action.destination, action.port, payload)

    def _read(self, payload: bytes, source: IPAddress, received_at: MonoNs) -> NodeHeartbeat | None:
        result = self._wire.decode(payload)
        if isinstance(result, Discard):
            self._discards.count(received_at, source, result.reason, result.detail)
            return None
        return result


def _tell(interface: str, text: str) -> None:
    if text:
        logger.warning("app nodes: %s", text)
    else:
        logger.info("app nodes: heard on %s", interface)
