// An address that moves is seen to move, from the host that had it to the one that has it.

const TIME_MS = 600;
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** Return where each address is, by address: its host and its place on the screen. */
export function homes(root) {
  return new Map(
    [...root.querySelectorAll("[data-address]")].map((badge) => [
      badge.dataset.address,
      { host: badge.closest("[data-host]")?.dataset.host, place: badge.getBoundingClientRect(), badge },
    ]),
  );
}

/** Move every address that has changed its host since `before` from where it was. */
export function travel(before, root) {
  for (const [address, { host, place, badge }] of homes(root)) {
    const old = before.get(address);
    if (!old || old.host === host) continue;
    badge.classList.add("moved");
    if (still.matches) continue;
    const from = `translate(${old.place.x - place.x}px, ${old.place.y - place.y}px)`;
    badge.animate([{ transform: from }, { transform: "none" }], { duration: TIME_MS, easing: "ease-in-out" });
  }
}
