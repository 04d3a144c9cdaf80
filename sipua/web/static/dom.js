// Elements from values. What callers, carriers and models say only ever becomes a text node: there is no way from here
// to HTML, and the page's policy (Trusted Types) refuses it in any case.

const SVG = "http://www.w3.org/2000/svg";

/** An element: attributes by name (`on…`: a listener; false, null: left out), then children: nodes, texts, lists. */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same in an SVG. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

/** Puts these in place of what `element` holds. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
}

/** Only if it is another: a screen reader is not told twice. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A word with a shape and a colour; kind: good, warn, bad, none. */
export function mark(kind, text, title) {
  return h("span", { class: `mark ${kind}`, title }, text);
}

/** Tells a screen reader something that is seen in any case. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** Asks; true if that was wanted. Escape and the first button say no. */
export function confirmed(title, text, action) {
  return new Promise((resolve) => {
    const id = "dialog-title";
    const dialog = h(
      "dialog",
      { "aria-labelledby": id, onclose: () => { dialog.remove(); resolve(dialog.returnValue === "yes"); } },
      h("h2", { id }, title),
      h("p", {}, text),
      h("form", { method: "dialog" },
        h("button", { value: "no", autofocus: true }, "Keep it"),
        h("button", { value: "yes", class: "danger" }, action)),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}
