// What has happened, the newest first, each with what led to it.

import { el } from "./dom.js";
import { SEVERITIES, timeOfDay } from "./words.js";

export function timeline(told) {
  const entries = history(told);
  const known = new Map(entries.map((entry) => [place(entry, entry.record.number), entry]));
  return el(
    "section",
    { id: "timeline", "data-key": "timeline", "aria-labelledby": "timeline-title" },
    el("h2", { id: "timeline-title", tabindex: "-1" }, "What happened", el("small", {}, "newest first, UTC")),
    el("ol", { class: "events", reversed: true }, entries.map((entry) => event(entry, known))),
  );
}

/** Return the records and whose they are, the newest first. */
function history({ node, boot_id, records }) {
  return records.map((record) => ({ node, boot_id, record })).reverse();
}

function event(entry, known) {
  const { node, record } = entry;
  const [mood, sign] = SEVERITIES[record.severity];
  const id = place(entry, record.number);
  return el(
    "li",
    { id, class: `event ${mood}`, "data-key": id, tabindex: "-1" },
    el("time", { datetime: record.time }, timeOfDay(record.time)),
    el("span", { class: "kind" }, `${sign} ${record.severity} · ${record.kind} · ${node}`),
    el("p", {}, record.text),
    cause(entry, known),
    evidence(record),
  );
}

function cause(entry, known) {
  if (entry.record.cause === null) return null;
  const at = place(entry, entry.record.cause);
  const found = known.get(at);
  if (!found) return null;
  return el("p", { class: "cause" }, "because of ", el("a", { href: `#${at}` }, found.record.text));
}

function evidence({ evidence }) {
  if (!evidence.length) return null;
  return el(
    "details",
    {},
    el("summary", {}, "on what it stands"),
    el("ul", {}, evidence.map((line) => el("li", {}, line))),
  );
}

function place({ node, boot_id }, number) {
  return `record-${node}-${boot_id}-${number}`;
}
