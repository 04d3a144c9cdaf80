// What the calls of each day have cost.

import { get } from "./api.js";
import { fill, h } from "./dom.js";
import { figure, money } from "./format.js";
import { plot } from "./chart.js";
import { table } from "./table.js";

export function costView() {
  const body = h("div", { class: "plots" });
  const days = h("select", { onchange: () => load() }, [7, 30, 90, 365].map((n) => h("option", { value: n, selected: n === 30 }, `${n} days`)));
  const note = h("p", { class: "quiet" });
  const rows = h("div");
  let stays = true;

  async function load() {
    try {
      const found = await get("costs", { days: days.value });
      if (!stays) return;
      show(found);
    } catch (error) {
      if (stays) fill(rows, h("p", { class: "alert", role: "alert" }, error.message));
    }
  }

  function show({ days: all, zone, currency }) {
    const sum = (name) => all.reduce((total, day) => total + (day[name] ?? 0), 0);
    const cost = money(sum("cost_usd"), "USD") + (currency ? ` (${money(sum("cost"), currency)})` : "");
    fill(note, `${figure(sum("calls"), 0)} calls, ${figure(sum("minutes"), 1)} minutes, ${cost}. Days are those of ${zone}.`);
    const oldestFirst = [...all].reverse();
    const bars = (title, unit, name, digits) =>
      plot({ title, unit, kind: "bars", digits, heading: "h2", xLabel: "Day", text: (index) => oldestFirst[index].day,
        points: oldestFirst.map((day, index) => [index, day[name] ?? 0]) });
    fill(body, bars("Cost per day", "USD", "cost_usd", 2), bars("Calls per day", "calls", "calls", 0));
    fill(rows, table({ caption: "Day by day", rows: all, columns: columns(currency) }));
  }

  load();
  return {
    title: "Cost",
    element: [
      h("div", { class: "head" }, h("h1", {}, "Cost per day"), h("label", {}, "Shown", days)),
      note, body, rows],
    leave: () => { stays = false; },
  };
}

function columns(currency) {
  const found = [
    { label: "Day", cell: (d) => h("time", { datetime: d.day }, d.day), by: (d) => d.day },
    { label: "Calls", kind: "number", cell: (d) => figure(d.calls, 0), by: (d) => d.calls },
    { label: "Completed", kind: "number", cell: (d) => figure(d.by_status.completed ?? 0, 0), by: (d) => d.by_status.completed ?? 0 },
    { label: "Failed", kind: "number", cell: (d) => figure(d.by_status.failed ?? 0, 0), by: (d) => d.by_status.failed ?? 0 },
    { label: "Minutes", kind: "number", cell: (d) => figure(d.minutes, 1), by: (d) => d.minutes },
    { label: "Cost", kind: "number", cell: (d) => money(d.cost_usd, "USD"), by: (d) => d.cost_usd },
  ];
  if (currency) found.push({ label: `In ${currency}`, kind: "number", cell: (d) => money(d.cost, currency), by: (d) => d.cost });
  return found;
}
