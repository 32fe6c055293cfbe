// Drain, undrain and failover, for who has the login.  Not there without one in the agent's file.
// The agent judges the login, and whether what is wanted can be; nothing of it is decided here.

import { el } from "./dom.js";
import { agentsIn, mastersOf } from "./cluster.js";

const bar = el("nav", { id: "steering", "aria-label": "Steering" });
const dialog = el("dialog", { "aria-labelledby": "ask-title" });
document.getElementById("main").before(bar);
document.body.append(dialog);

let status = null;
let login = { user: "", password: "" };
/* Until the page is loaded anew, and nowhere else. */

document.addEventListener("status", ({ detail }) => {
  status = detail;
  const held = heldGroups().join();
  if (bar.dataset.held === held) return;
  bar.dataset.held = held;
  bar.replaceChildren(
    // Who is no master has nothing to hand over.
    ...heldGroups().map((group) => button(`Fail over ${group}`, () => askFailover(group))),
    button(`Drain ${status.node}`, () => ask("drain", drained(), {})),
    button(`Undrain ${status.node}`, () => ask("undrain", `${status.node} may be master again.`, {})),
  );
});

function askFailover(group) {
  const others = agentsIn(group, status).map(([agent]) => agent).filter((agent) => agent !== status.node);
  const to = el(
    "select",
    { name: "to" },
    el("option", { value: "" }, "the best"),
    others.map((agent) => el("option", { value: agent }, agent)),
  );
  const words = `${status.node} is master of ${group} and hands it over.`;
  ask("failover", words, { group }, el("label", {}, "To ", to));
}

function drained() {
  const held = heldGroups();
  const hands = held.length ? `hands ${held.join(", ")} over and ` : "";
  return `${status.node} ${hands}is kept out of being master until it is undrained.`;
}

/** Return the groups that the agent is master of. */
function heldGroups() {
  const groups = status.groups.map(({ role }) => role.group);
  return groups.filter((group) => mastersOf(group, status).includes(status.node));
}

/** Say what will happen, and have it confirmed with the login. */
function ask(action, words, request, ...fields) {
  // What was seen when it was asked for: the agent refuses if the master has changed since.
  const seen = status.groups
    .filter(({ role }) => !request.group || role.group === request.group)
    .map(({ role }) => ({ group: role.group, term: role.term }));
  const told = { ...request, seen, id: freshId() };
  const outcome = el("p", { class: "outcome", role: "alert" });
  const form = el(
    "form",
    {},
    el("h2", { id: "ask-title" }, `${action[0].toUpperCase()}${action.slice(1)}?`),
    el("p", {}, words),
    fields,
    el("label", {}, "User ", input("user", "text", "username", login.user)),
    el("label", {}, "Password ", input("password", "password", "current-password", login.password)),
    el("label", {}, el("input", { name: "force", type: "checkbox" }), " also if the agent objects"),
    outcome,
    el("menu", {}, el("button", { class: "do" }, `Yes, ${action}`), button("Cancel", () => dialog.close())),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    confirm(action, told, form, outcome);
  });
  if (action === "undrain") form.elements.force.closest("label").remove();
  dialog.replaceChildren(form);
  dialog.showModal();
}

async function confirm(action, request, form, outcome) {
  const { user, password, force, to } = form.elements;
  const wanted = { ...request };
  if (force?.checked) wanted.force = true;
  if (to?.value) wanted.to = to.value;
  outcome.textContent = "asked";
  const { ok, lines, done, lost } = await send(action, wanted, user.value, password.value);
  // What may have been done is asked for again as the same, to be done once.
  if (!lost) request.id = freshId();
  outcome.className = `outcome ${ok ? "good" : "bad"}`;
  outcome.textContent = ok ? `◆ ${done}` : `✖ ${lines.join("; ")}`;
  if (!ok) return;
  login = { user: user.value, password: password.value };
  form.querySelector(".do").remove();
  form.querySelector("menu button").textContent = "Close";
}

async function send(action, request, user, password) {
  const credentials = btoa(String.fromCharCode(...new TextEncoder().encode(`${user}:${password}`)));
  try {
    const answer = await fetch(`api/v1/${action}`, {
      method: "POST",
      // The browser has no login of its own to add, nor to ask for.
      credentials: "omit",
      headers: { "Content-Type": "application/json", Authorization: `Basic ${credentials}` },
      body: JSON.stringify(request),
    });
    const text = await answer.text();
    const told = answer.headers.get("Content-Type").startsWith("application/json");
    if (!told) return { ok: false, lost: answer.status === 503, lines: [text.trim()] };
    const { outcome, lines, to } = JSON.parse(text);
    return { ok: answer.ok, lines, done: to ? `${outcome}: to ${to}` : outcome };
  } catch {
    return { ok: false, lost: true, lines: ["the agent could not be asked: look whether it is done"] };
  }
}

function freshId() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

function input(name, type, autocomplete, value) {
  return el("input", { name, type, autocomplete, value, required: true });
}

function button(text, action) {
  const made = el("button", { type: "button" }, text);
  made.addEventListener("click", action);
  return made;
}
