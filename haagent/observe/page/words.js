// Numbers and states in words, and signs for who sees no colours.

/** Return `ms` for a person, in its one or two largest units, as `haagent status` does. */
export function duration(ms) {
  const [seconds, minutes, hours] = [1000, 60_000, 3_600_000].map((unit) => Math.floor(ms / unit));
  if (seconds < 1) return `${Math.floor(ms)} ms`;
  if (minutes < 1) return `${seconds} s`;
  if (hours < 1) return `${minutes} min ${seconds % 60} s`;
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Return the time of day of an RFC 3339 instant in UTC, with as many digits as it has. */
export function timeOfDay(instant) {
  return instant.slice(11).replace("Z", "");
}

export function bytes(count) {
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  const step = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
  return `${(count / 1000 ** step).toFixed(step ? 1 : 0)} ${units[step]}`;
}

export function endpoint({ address, port }) {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** How a state is drawn: good, calm, bad or doubt, and the sign that says the same. */
export const MOODS = {
  master: "good",
  resigning: "doubt",
  backup: "calm",
  listen: "doubt",
  candidate: "doubt",
  suspect: "doubt",
  init: "doubt",
  fault: "bad",
  silent: "bad",
};
export const SIGNS = { good: "◆", calm: "◇", doubt: "◔", bad: "✖" };

export const SEVERITIES = {
  critical: ["bad", "✖"],
  error: ["bad", "✖"],
  warning: ["doubt", "▲"],
  notice: ["calm", "●"],
  info: ["calm", "○"],
};
