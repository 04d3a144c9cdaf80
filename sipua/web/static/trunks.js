// Trunks: whether calls may go over them, their registrations and targets, and how the drills went last.

import { fill, h, mark } from "./dom.js";
import { dayAndClock, figure, kindOf, words } from "./format.js";
import { table } from "./table.js";

const TRUNKS = [
  { label: "Trunk", cell: (t) => t.trunk, by: (t) => t.trunk },
  { label: "State", kind: "text", cell: (t) => [mark(kindOf(t.state), t.state), t.why ? h("div", { class: "quiet" }, t.why) : false], by: (t) => t.state },
  { label: "Registration", kind: "text", cell: (t) => registrations(t), by: (t) => t.registrations.length },
  { label: "Targets", kind: "text", cell: (t) => targets(t) },
  { label: "Direction", cell: (t) => t.direction, by: (t) => t.direction },
  { label: "Provider", cell: (t) => t.provider, by: (t) => t.provider },
  { label: "Calls", kind: "number", cell: (t) => `${t.calls}${t.max_channels ? ` of ${t.max_channels}` : ""}`, by: (t) => t.calls },
  { label: "Changed", cell: (t) => (t.changed_at ? h("time", { datetime: t.changed_at }, dayAndClock(t.changed_at)) : "–"), by: (t) => t.changed_at },
];

const DRILLS = [
  { label: "Drill", cell: (d) => d.drill, by: (d) => d.drill },
  { label: "Result", cell: (d) => mark(d.held ? "good" : "bad", d.held ? "held" : "did not hold"), by: (d) => d.held },
  { label: "When", cell: (d) => h("time", { datetime: d.started_at }, dayAndClock(d.started_at)), by: (d) => d.started_at },
  { label: "Where", cell: (d) => (d.live ? "configured trunks" : "this machine"), by: (d) => d.live },
  { label: "Lost calls", kind: "number", cell: (d) => `${figure(d.lost, 0)} of ${figure(d.attempted, 0)}`, by: (d) => d.lost },
  { label: "Noticed after", kind: "number", cell: (d) => figure(d.detect_ms, 0, " ms"), by: (d) => d.detect_ms },
  { label: "Back after", kind: "number", cell: (d) => figure(d.recover_ms, 0, " ms"), by: (d) => d.recover_ms },
];

export function trunksView({ live }) {
  const trunks = h("div");
  const drills = h("div");
  const show = () => {
    fill(trunks, table({ caption: "Trunks of this agent", columns: TRUNKS, rows: live.parts.trunks ?? [], empty: "There is no trunk." }));
    fill(drills, table({ caption: "The last run of each drill", columns: DRILLS, rows: live.parts.drills ?? [], empty: "No drill has been run: sipua drill run" }));
  };
  const changed = ({ detail }) => {
    if (detail.parts.includes("trunks") || detail.parts.includes("drills")) show();
  };
  live.addEventListener("snapshot", show);
  live.addEventListener("changes", changed);
  show();
  return {
    title: "Trunks",
    element: [h("h1", {}, "Trunks"), trunks, h("h2", {}, "Drills"), drills],
    leave: () => {
      live.removeEventListener("snapshot", show);
      live.removeEventListener("changes", changed);
    },
  };
}

function registrations(trunk) {
  if (!trunk.registrations.length) return "–";
  return trunk.registrations.map((r) =>
    h("div", {}, mark(r.registered ? "good" : "bad", `${r.registered ? "registered" : words(r.state)}`), " ", r.account,
      r.why ? h("div", { class: "quiet" }, r.why) : false));
}

function targets(trunk) {
  if (!trunk.targets.length) return trunk.dns || "–";
  return trunk.targets.map((t) =>
    h("div", {}, mark(kindOf(t.state), t.state), " ", h("span", { class: "mono" }, t.target),
      t.options_ms !== null && t.options_ms !== undefined ? h("span", { class: "quiet figure" }, ` ${figure(t.options_ms, 0)} ms`) : false,
      t.why ? h("div", { class: "quiet" }, t.why) : false));
}
