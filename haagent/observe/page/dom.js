// Elements, and how what is shown becomes what is to be shown.

/** Return an element; children are elements or text, attributes that are null or false are left out. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null));
  return made;
}

/**
 * Make the children of `old` like those of `made`, and touch nothing that is so already: the
 * focus, an opened part and the place of a reader stay.  `data-key` says who is the same.
 */
export function become(old, made) {
  const wantedKeys = new Set([...made.childNodes].map(key).filter(Boolean));
  for (const child of [...old.childNodes]) {
    if (key(child) && !wantedKeys.has(key(child))) child.remove();
  }
  const keyed = new Map([...old.childNodes].filter(key).map((child) => [key(child), child]));
  let at = old.firstChild;
  for (const wanted of [...made.childNodes]) {
    const match = key(wanted) ? keyed.get(key(wanted)) : at;
    if (!match || key(match) !== key(wanted) || match.nodeName !== wanted.nodeName) {
      old.insertBefore(wanted, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else old.insertBefore(match, at);
    becomeOne(match, wanted);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function becomeOne(old, made) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.nodeValue !== made.nodeValue) old.nodeValue = made.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    // What the reader has opened is his.
    if (!made.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of made.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  become(old, made);
}

function key(node) {
  return node.dataset?.key;
}
