// Past and present calls, by filter, page by page.

import { get } from "./api.js";
import { fill, h, mark, say } from "./dom.js";
import { costOf, dayAndClock, duration, figure, kindOf, kindOfMos, who, words } from "./format.js";
import { table } from "./table.js";

const LIMIT = 50;
const STATUSES = ["", "initiated", "ringing", "in_progress", "completed", "failed", "busy", "no_answer"];

const COLUMNS = [
  { label: "Started", cell: (c) => h("a", { href: `#/call/${c.id}` }, h("time", { datetime: c.started_at }, dayAndClock(c.started_at))), by: (c) => c.started_at },
  { label: "From", cell: (c) => h("span", { class: "mono" }, who(c, "from")), by: (c) => who(c, "from") },
  { label: "To", cell: (c) => h("span", { class: "mono" }, who(c, "to")), by: (c) => who(c, "to") },
  { label: "Trunk", cell: (c) => `${c.direction === "outbound" ? "→" : "←"} ${c.trunk ?? "–"}`, by: (c) => c.trunk },
  { label: "Status", cell: (c) => mark(kindOf(c.status), words(c.status)), by: (c) => c.status },
  { label: "Outcome", kind: "text", cell: (c) => [words(c.outcome), c.intent ? h("div", { class: "quiet" }, c.intent) : false], by: (c) => c.outcome },
  { label: "Talked", kind: "number", cell: (c) => duration(c.duration_seconds), by: (c) => c.duration_seconds },
  { label: "First word", kind: "number", cell: (c) => figure(c.first_time_to_assistant_seconds, 1, " s"), by: (c) => c.first_time_to_assistant_seconds },
  { label: "MOS", kind: "number", cell: (c) => (typeof c.mos === "number" ? mark(kindOfMos(c.mos), figure(c.mos, 1)) : "–"), by: (c) => c.mos },
  { label: "Cost", kind: "number", cell: (c) => { const [usd, other] = costOf(c); return [usd, other ? h("div", { class: "quiet" }, other) : false]; }, by: (c) => c.cost_usd },
];

/** `query`: the filter, as it stands in the address: a page can be kept as a bookmark. */
export function historyView({ query }) {
  const marks = [""]; // where each page that was seen begins
  const results = h("div", { "aria-busy": "true" });
  const earlier = h("button", { type: "button", onclick: () => turn(-1) }, "← Newer");
  const later = h("button", { type: "button", onclick: () => turn(1) }, "Older →");
  const place = h("span", { class: "quiet" });
  let page = 0;
  let stays = true;

  const form = h("form", { class: "panel row", "aria-label": "Filter", onsubmit: (event) => { event.preventDefault(); search(); } },
    field("Status", h("select", { name: "status" }, STATUSES.map((s) => h("option", { value: s }, s ? words(s) : "all")))),
    field("Direction", h("select", { name: "direction" }, ["", "inbound", "outbound"].map((d) => h("option", { value: d }, d || "both")))),
    field("Trunk", h("input", { name: "trunk", maxlength: 64, autocomplete: "off", size: 12 })),
    field("Last digits of a number", h("input", { name: "digits", inputmode: "numeric", pattern: "[0-9]{3,20}", title: "3 to 20 digits", autocomplete: "off", size: 12 })),
    field("From day", h("input", { name: "from_day", type: "date" })),
    field("To day", h("input", { name: "to_day", type: "date" })),
    h("button", { class: "main" }, "Show"));
  for (const [name, value] of query) if (form.elements[name]) form.elements[name].value = value;

  function search() {
    const wanted = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    const hash = `#/history${wanted.size ? `?${wanted}` : ""}`;
    if (location.hash === hash) load();
    else location.hash = hash;
  }

  async function turn(by) {
    page += by;
    await load();
    results.querySelector("caption")?.scrollIntoView({ block: "nearest" });
  }

  async function load() {
    results.setAttribute("aria-busy", "true");
    try {
      const found = await get("calls", { ...Object.fromEntries(query), limit: LIMIT, after: marks[page] });
      if (!stays) return;
      if (found.next) marks[page + 1] = found.next;
      const caption = `Calls ${page * LIMIT + (found.calls.length ? 1 : 0)} to ${page * LIMIT + found.calls.length}, the newest first`;
      fill(results, table({ caption, columns: COLUMNS, rows: found.calls, empty: "No call fits." }));
      earlier.disabled = page === 0;
      later.disabled = !found.next;
      fill(place, `Page ${page + 1}`);
      say(caption);
    } catch (error) {
      if (stays) fill(results, h("p", { class: "alert", role: "alert" }, error.message));
    }
    results.removeAttribute("aria-busy");
  }

  earlier.disabled = later.disabled = true;
  load();
  return {
    title: "Call history",
    element: [h("h1", {}, "Call history"), form, results, h("nav", { class: "row", "aria-label": "Pages" }, earlier, place, later)],
    leave: () => { stays = false; },
  };
}

const field = (label, input) => h("label", {}, label, input);
