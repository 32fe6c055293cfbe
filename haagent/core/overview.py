"""What an agent shows of its groups and its peers: a frozen copy, for everything that looks on."""

from dataclasses import dataclass

from haagent.core.group import Group
from haagent.core.groups import Groups
from haagent.core.identity import NodeId
from haagent.core.membership import Membership
from haagent.core.messages import RoleReason
from haagent.core.peer import Peer, View
from haagent.core.settings import AgentSettings
from haagent.core.status import GroupStatus, PathStatus, PeerStatus, RoleChanges, RoleStatus
from haagent.core.units import MonoNs, milliseconds


@dataclass(frozen=True, slots=True)
class Overview:
    """See the module docstring."""

    settings: AgentSettings
    our_groups: Groups
    membership: Membership

    def groups(self) -> tuple[GroupStatus, ...]:
        """Return our part in each group."""
        return tuple(self._group(group) for group in self.our_groups)

    def peers(self) -> tuple[PeerStatus, ...]:
        """Return every peer ever met, dead ones too, by name."""
        return tuple(self._peer(peer) for peer in self.membership.peers())

    def _group(self, group: Group) -> GroupStatus:
        election = group.election
        role = RoleStatus(
            group=group.settings.name,
            state=election.shown_state,
            reason=election.shown_reason,
            since=election.since,
            base_priority=group.settings.priority,
            priority=election.priority,
            health=election.health,
            term=election.term,
            master=self._name(election.master),
        )
        return GroupStatus(
            role=role,
            interface=group.settings.interface,
            addresses=group.ownership.status(),
            preempts_at=election.preempts_at,
            checks=group.health.status(),
            changes=tuple(
                RoleChanges(state=state, reason=reason, count=count)
                for (state, reason), count in group.changes.items()
            ),
        )

    def _peer(self, peer: Peer) -> PeerStatus:
        paths = self.settings.heartbeat.paths
        names = {group.settings.id: group.settings.name for group in self.our_groups}
        return PeerStatus(
            name=peer.name,
            node=peer.node,
            boot=peer.boot,
            alive=peer.alive,
            last_heard=peer.last_heard,
            hears_us=peer.hears_us,
            paths=tuple(
                PathStatus(
                    interface=paths[index].interface,
                    source=source,
                    last_heard=at,
                    loss_permille=peer.loss_permille(index),
                    round_trip=peer.qualities[index].round_trip.smoothed,
                )
                for index, (source, at) in sorted(peer.paths.items())
            ),
            roles=tuple(
                self._peer_role(names[key], view)
                for key, view in peer.views.items()
                if key in names
            ),
        )

    def _peer_role(self, group: str, view: View) -> RoleStatus:
        header, heartbeat = view.header, view.heartbeat
        age_ms = 0 if heartbeat is None else heartbeat.role_age_ms
        return RoleStatus(
            group=group,
            state=header.state,
            reason=RoleReason.STARTING if heartbeat is None else heartbeat.reason,
            since=MonoNs(view.at - milliseconds(age_ms)),
            base_priority=header.base_priority,
            priority=header.priority,
            health=header.health,
            term=header.term,
            master=self._name(header.master),
        )

    def _name(self, node: NodeId | None) -> str | None:
        if node is None:
            return None
        if node == self.settings.node_id:
            return self.settings.node
        peer = self.membership.get(node)
        return f"{node:016x}" if peer is None else peer.name
