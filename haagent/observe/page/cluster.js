// Who is what in a status, as one agent sees its cluster.

const OWNERS = new Set(["master", "resigning"]);

/** Return name, role and, of a silent one, the silence in ms of each agent in the group, ours first. */
export function agentsIn(group, status) {
  const ours = status.groups.filter((each) => each.role.group === group);
  const theirs = status.peers.flatMap((peer) =>
    peer.roles
      .filter((role) => role.group === group)
      .map((role) => [peer.name, role, peer.alive ? null : peer.last_heard_age_ms]),
  );
  return [...ours.map(({ role }) => [status.node, role, null]), ...theirs];
}

/** Return the names of the living agents that own the addresses of the group by their role. */
export function mastersOf(group, status) {
  return agentsIn(group, status)
    .filter(([, role, silence]) => silence === null && OWNERS.has(role.state))
    .map(([agent]) => agent);
}

/** Return who has the address: of our own host by the kernel's word, of another by its role. */
export function holdersOf(address, group, status) {
  const others = mastersOf(group.role.group, status).filter((agent) => agent !== status.node);
  return address.held ? [status.node, ...others] : others;
}
