// The cluster as a person thinks of it: the agent that answers, its paths, and the other agents,
// each with the addresses that it has.

import { el } from "./dom.js";
import { holdersOf } from "./cluster.js";
import { MOODS, SIGNS, duration } from "./words.js";

const PATH_SILENT_MS = 3000;
/* Longer than three of the longest intervals between heartbeats. */

export function picture(status) {
  return el(
    "section",
    { id: "cluster", "data-key": "cluster", "aria-labelledby": "cluster-title" },
    el("h2", { id: "cluster-title" }, "Agents"),
    homeless(status),
    el(
      "div",
      { class: "picture" },
      host(status.node, status, { roles: status.groups.map(({ role }) => role), ours: true }),
      el("ul", { class: "others" }, status.peers.map((peer) => other(peer, status))),
    ),
  );
}

/** The addresses that nobody has. */
function homeless(status) {
  const lost = status.groups.flatMap((group) =>
    group.addresses.filter((address) => !holdersOf(address, group, status).length),
  );
  if (!lost.length) return null;
  return el(
    "p",
    { class: "homeless bad", "data-key": "homeless" },
    el("strong", {}, "✖ on no host: "),
    lost.map(({ address }) => badge(address)),
  );
}

function other(peer, status) {
  const silence = peer.alive ? null : peer.last_heard_age_ms;
  return el(
    "li",
    { "data-key": peer.name },
    el("ul", { class: "paths", "aria-label": `paths from ${peer.name}` }, peer.paths.map((each) => path(each, peer))),
    host(peer.name, status, { roles: peer.roles, silence, deaf: peer.alive && !peer.hears_us }),
  );
}

function path(path, peer) {
  const silent = !peer.alive || path.last_heard_age_ms > PATH_SILENT_MS;
  const loss = path.loss_permille ?? null;
  const rtt = path.round_trip_us ?? null;
  const facts = [
    silent ? `✖ silent for ${duration(path.last_heard_age_ms)}` : null,
    silent || rtt === null ? null : `${(rtt / 1000).toFixed(rtt < 10_000 ? 1 : 0)} ms`,
    silent || loss === null ? null : loss ? `▲ ${loss / 10} % lost` : "none lost",
  ].filter(Boolean);
  const mood = silent ? "bad" : loss ? "doubt" : "calm";
  return el(
    "li",
    { class: `path ${mood}`, "data-key": `${path.interface} ${path.source}` },
    el("b", {}, path.interface),
    el("span", {}, path.source),
    el("span", {}, facts.join(", ")),
  );
}

function host(name, status, { roles, ours = false, silence = null, deaf = false }) {
  const dead = silence !== null;
  return el(
    "article",
    { class: `host ${dead ? "bad" : "calm"}`, "data-host": name, "aria-label": name },
    el("h3", {}, name, el("small", {}, ours ? "this agent" : dead ? `✖ silent for ${duration(silence)}` : "alive")),
    deaf ? el("p", { class: "bad" }, "✖ does not hear us") : null,
    roles.map((role) => part(role, name, status, dead)),
  );
}

function part(role, name, status, dead) {
  const group = status.groups.find((each) => each.role.group === role.group);
  const here = group?.addresses.filter((each) => holdersOf(each, group, status).includes(name)) ?? [];
  const state = dead ? `was ${role.state}` : role.state;
  const mood = dead ? "bad" : MOODS[role.state];
  const demoted = role.health > 0 && role.health < 100 ? ", demoted" : "";
  return el(
    "div",
    { class: `part ${mood}`, "data-key": role.group },
    el("p", { class: "role" }, el("b", {}, role.group), ` ${SIGNS[mood]} ${state}`),
    here.length ? el("ul", { class: "addresses" }, here.map(({ address }) => el("li", { "data-key": address }, badge(address)))) : null,
    el("small", {}, `priority ${role.priority}${demoted}; ${role.reason_text}`),
    dead || !group || name !== status.node ? null : failing(group),
  );
}

function failing({ checks }) {
  const failed = checks.filter((check) => check.passed === false);
  if (!failed.length) return null;
  return el(
    "ul",
    { class: "checks" },
    failed.map(({ name, text }) => el("li", { class: "bad", "data-key": name }, `✖ check ${name} fails: ${text}`)),
  );
}

function badge(address) {
  return el("span", { class: "address", "data-address": address }, address);
}
