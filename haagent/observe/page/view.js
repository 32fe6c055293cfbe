// What a status looks like: pure functions from what /api/v1/status answers to elements.

import { el } from "./dom.js";
import { picture } from "./picture.js";
import { backends } from "./backends.js";
import { timeline } from "./timeline.js";
import { SEVERITIES, duration } from "./words.js";
import { agentsIn, mastersOf } from "./cluster.js";

/** Return the whole page but its head. */
export function view(status, records) {
  return el(
    "main",
    {},
    trouble(status),
    verdicts(status),
    picture(status),
    backends(status),
    nodes(status),
    timeline(records),
    foot(status),
  );
}

/** Return what the tab says: the worst first. */
export function title(status) {
  const orphans = status.groups.filter(({ role }) => mastersOf(role.group, status).length !== 1);
  if (orphans.length) return `✖ ${sentence(orphans[0], status)}`;
  const [worst] = troubles(status);
  if (worst) return `${SEVERITIES[worst.severity][1]} ${worst.text} - ${status.cluster}`;
  return `◆ ${status.cluster}`;
}

/** Return who is master of the group, for people. */
export function sentence({ role }, status) {
  const masters = mastersOf(role.group, status);
  if (masters.length === 0) return `${role.group} has no master`;
  if (masters.length === 1) return `${masters[0]} is master of ${role.group}`;
  return `${role.group} has ${masters.length} masters: ${masters.join(", ")}`;
}

/** Return what is wrong, as alarms are told: these, and who is not heard. */
export function troubles({ alarms, peers }) {
  const silent = peers.filter(({ alive }) => !alive).map(({ name, last_heard_age_ms }) => ({
    severity: "warning",
    kind: "peer.dead",
    text: `${name} is silent`,
    age_ms: last_heard_age_ms,
  }));
  return [...alarms, ...silent];
}

function trouble(status) {
  const all = troubles(status);
  return section(
    "trouble",
    all.length ? "Trouble" : "◇ No trouble",
    all.length ? el("ul", { class: "alarms" }, all.map(alarm)) : null,
  );
}

function alarm({ severity, kind, text, age_ms }) {
  const [mood, sign] = SEVERITIES[severity];
  return el(
    "li",
    { class: `alarm ${mood}`, "data-key": `${kind} ${text}` },
    el("strong", {}, `${sign} ${severity}`),
    " ",
    el("span", { class: "text" }, text),
    " ",
    el("small", {}, `${kind}, for ${duration(age_ms)}`),
  );
}

function verdicts(status) {
  return section("groups", "Groups", status.groups.map((group) => verdict(group, status)));
}

function verdict(group, status) {
  const { group: name } = group.role;
  const masters = mastersOf(name, status);
  const well = masters.length === 1;
  const [, role] = agentsIn(name, status).find(([agent]) => agent === masters[0]) ?? [];
  const why = role ? `for ${duration(role.age_ms)}, term ${role.term}: ${role.reason_text}` : "";
  return el(
    "div",
    { class: `verdict ${well ? "good" : "bad"}`, "data-key": name },
    el("p", {}, el("span", { "aria-hidden": "true" }, well ? "◆ " : "✖ "), sentence(group, status)),
    el("small", {}, well ? why : group.role.reason_text),
  );
}

function nodes({ nodes }) {
  if (!nodes) return null;
  return section(
    "nodes",
    nodes.total ? `App nodes: ${nodes.total}` : "App nodes: none heard yet",
    el("ul", { class: "services" }, nodes.services.map(service)),
    el("ul", { class: "nodes" }, nodes.shown.map(node)),
  );
}

function service(service) {
  const troubled = ["unhealthy", "held", "dead", "left"].filter((standing) => service[standing]);
  const parts = ["serving", ...troubled].map((standing) => `${service[standing]} ${standing}`);
  return el("li", { "data-key": service.service }, el("b", {}, service.service), ` ${parts.join(", ")}`);
}

function node(node) {
  const ill = node.services.filter((each) => !each.healthy).map((each) => each.name);
  const well = node.standing === "alive" && !ill.length;
  const state = ill.length ? `${ill.join(", ")} unhealthy` : node.standing;
  return el(
    "li",
    { class: `node ${well ? "calm" : "bad"}`, "data-key": node.name },
    el("b", {}, node.name),
    ` ${node.address}`,
    el("small", {}, `${well ? "◇" : "✖"} ${state} for ${duration(node.age_ms)}`),
  );
}

function foot({ node, runtime }) {
  const late = `loop at most ${runtime.loop_lateness_ms.toFixed(1)} ms late`;
  const up = `up ${duration(runtime.uptime_ms)}`;
  return el("footer", {}, `haagent ${runtime.version} on ${node}, ${up}, fence ${runtime.fence}, ${late}`);
}

function section(id, title, ...parts) {
  return el(
    "section",
    { id, "data-key": id, "aria-labelledby": `${id}-title` },
    el("h2", { id: `${id}-title` }, title),
    ...parts,
  );
}
