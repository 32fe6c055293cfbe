// Keeps the page true: takes the stream of statuses, shows each, and says when it has none.

import { become } from "./dom.js";
import { sentence, title, troubles, view } from "./view.js";
import { homes, travel } from "./travel.js";
import { duration, timeOfDay } from "./words.js";

const SILENT_MS = 3000;
/* The agent says something each second. */

const LOST_MS = 7000;
/* Of an agent that hangs its server says so after 5 s; who says nothing at all is gone. */

const RETRY_MS = 1000;

const main = document.getElementById("main");
const link = document.getElementById("link");
const news = document.getElementById("news");

let source = null;
let status = null;
let records = null;
let shownAt = performance.now();
let heardAt = performance.now();
let trouble = "";

function connect() {
  source?.close();
  source = new EventSource("api/v1/stream");
  heardAt = performance.now();
  source.addEventListener("records", (event) => {
    records = JSON.parse(event.data);
  });
  source.addEventListener("status", (event) => show(JSON.parse(event.data)));
  source.addEventListener("silent", (event) => {
    heardAt = performance.now();
    fail(JSON.parse(event.data));
  });
  source.addEventListener("error", () => {
    fail("the connection is broken");
    source.close();
    setTimeout(connect, RETRY_MS);
  });
}

function show(fresh) {
  heardAt = shownAt = performance.now();
  trouble = "";
  announce(status, fresh);
  const before = homes(main);
  become(main, view(fresh, records));
  if (status) travel(before, main);
  status = fresh;
  document.dispatchEvent(new CustomEvent("status", { detail: fresh }));
  document.title = title(fresh);
  document.querySelector("h1").textContent = fresh.cluster;
  tell();
}

function fail(why) {
  trouble = why;
  tell();
}

/** Say how true the page is.  What a screen reader reads changes only with the trouble itself. */
function tell() {
  document.body.classList.toggle("stale", Boolean(trouble));
  if (!trouble) {
    link.className = "calm";
    link.textContent = `◇ live, as ${status.node} sees it`;
    return;
  }
  link.className = "bad";
  const shown = status ? `; shown is ${timeOfDay(status.time).slice(0, 8)} UTC` : "";
  const words = `✖ not live: ${trouble}${shown}, trying again`;
  if (link.firstChild?.nodeValue !== words) link.textContent = words;
  let age = link.querySelector("span");
  if (!age) {
    age = document.createElement("span");
    age.setAttribute("aria-hidden", "true");
    link.append(age);
  }
  age.textContent = ` (since ${duration(performance.now() - shownAt)})`;
  document.title = "✖ not live";
}

/** Have a screen reader say what has changed, and what is over. */
function announce(old, fresh) {
  if (!old) return;
  const masters = (state) => state.groups.map((group) => sentence(group, state));
  const wrong = (state) => troubles(state).map(({ severity, text }) => `${severity}: ${text}`);
  const lines = [
    ...without(masters(fresh), masters(old)),
    ...without(wrong(fresh), wrong(old)),
    ...without(wrong(old), wrong(fresh)).map((line) => `over: ${line}`),
  ];
  if (lines.length) news.textContent = lines.join(". ");
}

function without(lines, known) {
  return lines.filter((line) => !known.includes(line));
}

setInterval(() => {
  const silentMs = performance.now() - heardAt;
  if (silentMs > SILENT_MS && !trouble) fail("nothing comes");
  if (silentMs > LOST_MS) connect();
  if (trouble) tell();
}, 1000);

connect();
