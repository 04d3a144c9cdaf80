// What is said on a call, as it is spoken. Whole lines go into a log that a screen reader reads out; those that are still
// being spoken stand below it, unread, until they are whole.

import { h, setText } from "./dom.js";
import { clock } from "./format.js";

const SPEAKERS = { assistant: "Agent", user: "Caller", caller: "Caller", system: "System", tool: "Tool", note: "" };
const NEAR_PX = 40; // who has scrolled up reads, and is not moved

export class Talk {
  #list;
  #coming;
  #shown = new Map();

  /** `aloud`: whether a screen reader is told of new lines. */
  constructor(name, aloud) {
    this.#list = h("ol");
    this.#coming = h("div", { "aria-hidden": "true" });
    this.log = h("div", { role: "log", "aria-label": `Transcript, ${name}` }, this.#list);
    this.element = h("div", { class: "talk", tabindex: "0", role: "group", "aria-label": `What is said, ${name}` },
      this.log, this.#coming);
    this.readAloud(aloud);
  }

  readAloud(aloud) {
    this.log.setAttribute("aria-live", aloud ? "polite" : "off");
  }

  show(lines) {
    const box = this.element;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
    for (const line of [...lines].sort((a, b) => a.nr - b.nr)) this.#line(line);
    if (atEnd) box.scrollTop = box.scrollHeight;
  }

  #line(line) {
    const known = this.#shown.get(line.item);
    if (known && known.done !== line.done) known.element.remove();
    if (!known || known.done !== line.done) {
      const text = h("span");
      const element = h(line.done ? "li" : "div", { class: `${side(line.role)}${line.done ? "" : " coming"}` },
        h("span", { class: "by" }, by(line)), text);
      (line.done ? this.#list : this.#coming).append(element);
      this.#shown.set(line.item, { done: line.done, element, text });
    }
    setText(this.#shown.get(line.item).text, textOf(line));
  }
}

const side = (role) => (role === "assistant" ? "agent" : role === "user" || role === "caller" ? "caller" : "other");
const by = (line) =>
  [line.role === "note" ? line.kind : SPEAKERS[line.role] ?? line.role, clock(line.at)].filter(Boolean).join(" · ");

function textOf(line) {
  if (line.role !== "tool") return line.text;
  return line.done ? `${line.text}: ${line.error || "done"}` : `${line.text} …`;
}
