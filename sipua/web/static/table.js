// Tables that sort by buttons in their headers. On a phone their rows are shown as lists, which is why the roles are said:
// a browser forgets that a table is one when it is laid out as something else.

import { fill, h } from "./dom.js";

/**
 * `columns`: { label, cell: row → node or text, by: row → what it sorts by (none: it does not), kind: "number", "text" }.
 * `sort`: { column, down } at the beginning; none: as the rows come.
 */
export function table({ caption, columns, rows, sort = null, empty = "There is nothing here.", heading = 0 }) {
  const body = h("tbody", { role: "rowgroup" });
  const headers = columns.map((column, index) =>
    h("th", { role: "columnheader", scope: "col", class: column.kind === "number" ? "number" : false },
      column.by ? h("button", { type: "button", onclick: () => turn(index) }, column.label) : column.label));
  let order = sort;

  function turn(index) {
    order = { column: index, down: order?.column === index ? !order.down : columns[index].kind === "number" };
    show();
  }

  function show() {
    headers.forEach((header, index) => {
      if (order?.column === index) header.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else header.removeAttribute("aria-sort");
    });
    const sorted = order ? [...rows].sort(comparing(columns[order.column].by, order.down)) : rows;
    fill(body, sorted.length ? sorted.map(line) : h("tr", { role: "row" }, h("td", { role: "cell", colspan: columns.length, class: "empty" }, empty)));
  }

  function line(row) {
    return h("tr", { role: "row" }, columns.map((column, index) =>
      h(index === heading ? "th" : "td", {
        role: index === heading ? "rowheader" : "cell", scope: index === heading ? "row" : false,
        class: column.kind ?? false, "data-label": column.label,
      }, h("div", {}, column.cell(row)))));
  }

  show();
  return h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": caption },
    h("table", { class: "folds", role: "table" }, h("caption", {}, caption),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, headers)), body));
}

/** What is not there comes last, whichever way. */
function comparing(by, down) {
  return (a, b) => {
    const [x, y] = [by(a), by(b)];
    if (x == null || y == null) return (x == null) - (y == null);
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return down ? -order : order;
  };
}
