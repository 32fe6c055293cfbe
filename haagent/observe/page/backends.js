// HAProxy of the agent that answers: what its backends are to have, and have.

import { el } from "./dom.js";
import { bytes, endpoint } from "./words.js";

export function backends({ haproxy, node }) {
  if (!haproxy) return null;
  const well = haproxy.reachable && !haproxy.trouble;
  const trouble = haproxy.reachable ? haproxy.trouble : `not reachable: ${haproxy.trouble}`;
  return el(
    "section",
    { id: "haproxy", "data-key": "haproxy", "aria-labelledby": "haproxy-title" },
    el("h2", { id: "haproxy-title" }, `HAProxy on ${node}`),
    el("p", { class: well ? "calm" : "bad" }, well ? "◇ has what is wanted" : `✖ ${trouble}`),
    haproxy.file_trouble ? el("p", { class: "bad" }, `✖ file: ${haproxy.file_trouble}`) : null,
    haproxy.wanted.map((backend) => table(backend, haproxy)),
  );
}

function table(wanted, haproxy) {
  const seen = haproxy.seen.find(({ name }) => name === wanted.name) ?? { servers: [], count: 0 };
  const servers = [...wanted.servers, ...seen.servers];
  const columns = {
    heaviest: Math.max(1, ...servers.map(({ weight }) => weight)),
    traffic: seen.servers.some(({ traffic }) => traffic),
  };
  const cut = [wanted, seen].some((each) => each.count > each.servers.length);
  const rows = [...new Set(servers.map(({ name }) => name))].sort().flatMap((name) => {
    const [want, have] = [wanted, seen].map((each) => each.servers.find((one) => one.name === name));
    // Lists that are cut off end at different servers: the other may well be there.
    return cut && !(want && have) ? [] : [row(want, have, haproxy.reachable, columns)];
  });
  const heads = ["server", "weight", "state", ...(columns.traffic ? ["traffic"] : [])];
  const more = wanted.count - wanted.servers.length;
  return el(
    "table",
    { "data-key": wanted.name },
    el("caption", {}, wanted.count ? `backend ${wanted.name}` : `backend ${wanted.name}: no server is wanted`),
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, rows),
    more ? el("tfoot", {}, el("tr", {}, el("td", { colspan: heads.length }, `and ${more} more: haagent haproxy show`))) : null,
  );
}

function row(want, have, reachable, columns) {
  const server = have ?? want;
  const [mood, state] = reachable ? agreement(want, have) : ["doubt", "◔ unknown"];
  const bar = { min: "0", max: columns.heaviest, value: server.weight, "aria-hidden": "true" };
  return el(
    "tr",
    { class: mood, "data-key": server.name },
    el("th", { scope: "row" }, server.name, el("small", {}, endpoint(server))),
    el("td", { class: "weight" }, el("meter", bar), ` ${server.weight}`),
    el("td", {}, state),
    columns.traffic ? el("td", {}, traffic(have?.traffic)) : null,
  );
}

function agreement(want, have) {
  if (!have) return ["bad", "✖ missing"];
  if (!want) return ["doubt", "▲ not wanted"];
  const same = ["address", "port", "weight", "check"].every((field) => want[field] === have[field]);
  if (!same) return ["doubt", "▲ differs"];
  const status = have.traffic?.status ?? "in place";
  return status.startsWith("DOWN") ? ["bad", `✖ ${status}`] : ["calm", `◇ ${status}`];
}

function traffic(counts) {
  if (!counts) return "";
  const { sessions, sessions_per_s, bytes_in, bytes_out } = counts;
  return `${sessions} open, ${sessions_per_s}/s, ${bytes(bytes_in)} in, ${bytes(bytes_out)} out`;
}
