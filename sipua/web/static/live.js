// The calls that are up, with what is said on them.

import { post } from "./api.js";
import { confirmed, fill, h, mark, say, setText } from "./dom.js";
import { clock, duration, figure, kindOf, kindOfMos, who, words } from "./format.js";
import { Talk } from "./talk.js";

export function liveView({ live, may }) {
  const cards = new Map();
  const count = h("p", { class: "quiet" });
  const aloud = h("input", { type: "checkbox", checked: true, onchange: () => cards.forEach((card) => card.readAloud()) });
  const calls = h("div", { class: "calls" });
  const nobody = h("p", { class: "panel empty" }, "Nobody is on the line.");
  const element = [
    h("div", { class: "head" },
      h("h1", {}, "Live calls"),
      h("label", { class: "inline" }, aloud, "Read new lines aloud (screen readers)")),
    count, nobody, calls,
  ];

  function show() {
    const wanted = [...live.calls.values(), ...live.gone.values()].sort((a, b) => (a.started_at < b.started_at ? 1 : -1));
    const ids = new Set(wanted.map((call) => call.id));
    for (const [id, card] of cards) if (!ids.has(id)) { card.element.remove(); cards.delete(id); }
    wanted.forEach((call, index) => {
      let card = cards.get(call.id);
      if (!card) cards.set(call.id, (card = new Card(call, may, () => aloud.checked)));
      if (calls.children[index] !== card.element) calls.insertBefore(card.element, calls.children[index] ?? null);
      card.show(call);
    });
    const hidden = live.up - live.calls.size;
    setText(count, `${live.up} ${live.up === 1 ? "call is" : "calls are"} up` + (hidden > 0 ? `; the newest ${live.calls.size} are shown` : ""));
    nobody.hidden = wanted.length > 0;
  }

  function tick() {
    for (const card of cards.values()) card.tick(live.now());
  }

  function changed({ detail }) {
    for (const change of detail.calls)
      if (change.started_at) say(`A call from ${who(change, "from")} to ${who(change, "to")}`);
    show();
    for (const line of detail.lines) cards.get(line.call)?.lines([line]);
    tick();
  }

  const snapshot = () => {
    for (const card of cards.values()) card.element.remove();
    cards.clear();
    show();
    for (const call of live.calls.values()) cards.get(call.id).lines([...call.lines.values()]);
    tick();
  };
  live.addEventListener("snapshot", snapshot);
  live.addEventListener("changes", changed);
  const timer = setInterval(tick, 1000);
  snapshot();
  return {
    title: "Live calls",
    element,
    leave: () => {
      clearInterval(timer);
      live.removeEventListener("snapshot", snapshot);
      live.removeEventListener("changes", changed);
    },
  };
}

/** One call. */
class Card {
  #aloud;
  #call;
  #phase = h("span");
  #time = h("span", { class: "figure" });
  #facts = h("p", { class: "facts" });
  #hangUp = null;
  #foot;
  #talk;
  #shown = "";

  constructor(call, may, aloud) {
    const [from, to] = [who(call, "from"), who(call, "to")];
    this.#aloud = aloud;
    this.#call = call;
    this.#talk = new Talk(`call from ${from}`, aloud());
    if (may("operate") && call.own)
      this.#hangUp = h("button", { type: "button", class: "small danger", onclick: () => this.#end(), "aria-label": `Hang up the call from ${from} to ${to}` }, "Hang up");
    this.#foot = h("footer", {}, h("span", { class: "quiet" }, call.own ? false : "on another process"), this.#hangUp);
    this.element = h("article", { class: "panel call", "aria-label": `Call from ${from} to ${to}` },
      h("header", {},
        h("h2", { class: "mono" }, h("a", { href: `#/call/${call.id}` }, `${from} → ${to}`)),
        h("span", {}, this.#phase, " ", this.#time)),
      this.#facts, this.#talk.element, this.#foot);
  }

  readAloud() {
    this.#talk.readAloud(this.#aloud());
  }

  lines(lines) {
    this.#talk.show(lines);
  }

  show(call) {
    this.#call = call;
    const over = call.over === true;
    const phase = over ? words(call.reason ?? call.status ?? "") : call.phase;
    const key = JSON.stringify([over, phase, call.trunk, call.locale, call.quality, call.first_audio_s, call.turn_ms]);
    if (key === this.#shown) return;
    this.#shown = key;
    this.element.classList.toggle("over", over);
    fill(this.#phase, mark(over ? "none" : kindOf(phase), over ? (phase ? `ended: ${phase}` : "ended") : words(phase)));
    const quality = call.quality ?? {};
    fill(this.#facts, [
      h("span", {}, call.direction === "outbound" ? "outbound" : "inbound", call.trunk ? ` by ${call.trunk}` : ""),
      h("span", {}, `since ${clock(call.started_at)}`),
      call.locale && h("span", {}, `speaks ${call.locale}`),
      typeof quality.mos === "number" && mark(kindOfMos(quality.mos), `MOS ${figure(quality.mos, 1)}`),
      typeof quality.jitter_ms === "number" && h("span", { class: "figure" }, `jitter ${figure(quality.jitter_ms, 1)} ms`),
      quality.received > 0 && h("span", { class: "figure" }, `lost ${figure((100 * quality.lost) / (quality.received + quality.lost), 1)} %`),
      typeof call.first_audio_s === "number" && h("span", { class: "figure" }, `first word after ${figure(call.first_audio_s, 1)} s`),
      typeof call.turn_ms === "number" && h("span", { class: "figure" }, `last answer after ${figure(call.turn_ms, 0)} ms`),
    ]);
    if (over && this.#hangUp) { this.#hangUp.remove(); this.#hangUp = null; }
  }

  tick(now) {
    if (this.#call.over) return;
    const since = this.#call.answered_at ?? this.#call.started_at;
    setText(this.#time, duration((now - new Date(since).getTime()) / 1000));
  }

  async #end() {
    const call = this.#call;
    const sure = await confirmed("Hang up this call?", `${who(call, "from")} → ${who(call, "to")}. They are cut off at once.`, "Hang up");
    if (!sure) { this.#hangUp?.focus(); return; }
    try {
      if (this.#hangUp) this.#hangUp.disabled = true;
      await post(`calls/${encodeURIComponent(call.id)}/hangup`);
      say("Hung up.");
    } catch (error) {
      if (this.#hangUp) this.#hangUp.disabled = false;
      fill(this.#foot, h("span", { class: "alert", role: "alert" }, error.message), this.#hangUp);
    }
  }
}
