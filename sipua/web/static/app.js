// The page: who is logged in, which view is shown, the state above it.

import { get, onLoggedOut, remove } from "./api.js";
import { callView } from "./call.js";
import { costView } from "./cost.js";
import { fill, h, mark, setText } from "./dom.js";
import { useZone } from "./format.js";
import { historyView } from "./history.js";
import { liveView } from "./live.js";
import { loginView } from "./login.js";
import { Live } from "./stream.js";
import { trunksView } from "./trunks.js";

const VIEWS = [
  ["live", "Live", liveView],
  ["history", "History", historyView],
  ["trunks", "Trunks", trunksView],
  ["cost", "Cost", costView],
];
const $ = (id) => document.getElementById(id);

const live = new Live();
let session = null;
let view = null;

const may = (role) => session?.roles.includes(role) ?? false;

function show(next, { focus = true } = {}) {
  view?.leave();
  view = next;
  document.title = `${next.title} – sipua`;
  fill($("main"), next.element);
  if (next.focus) next.focus.focus();
  else if (focus) $("main").focus(); // a reader begins at the new content, not where the link was
  window.scrollTo(0, 0);
}

function route({ focus = true } = {}) {
  if (!session) return;
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, id] = path.split("/");
  const wanted = name === "call" && id ? "call" : VIEWS.some(([key]) => key === name) ? name : "live";
  for (const link of $("nav").querySelectorAll("a")) {
    if (link.dataset.view === (wanted === "call" ? "history" : wanted)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const make = wanted === "call" ? callView : VIEWS.find(([key]) => key === wanted)[2];
  let decoded = id ?? "";
  try { decoded = decodeURIComponent(decoded); } catch { /* as it stands: there is no such call */ }
  show(make({ live, may, id: decoded, query: new URLSearchParams(query) }), { focus });
}

function loggedIn(found) {
  session = found;
  useZone(found.zone);
  fill($("nav"), VIEWS.map(([key, label]) => h("li", {}, h("a", { href: `#/${key}`, "data-view": key }, label))));
  setText($("who"), `${found.name} (${found.roles.includes("operate") ? "operate" : "read"})`);
  setText($("node"), found.node);
  $("top").hidden = $("state").hidden = false;
  live.start();
  route();
}

function loggedOut(why = "") {
  const had = session !== null;
  session = null;
  live.stop();
  $("top").hidden = $("state").hidden = true;
  show(loginView({ done: loggedIn, why: had ? why : "" }));
}

const LABELS = { sip: "SIP", voice: "voice service" };
const labelled = (name) => LABELS[name] ?? name;

function showParts() {
  const parts = Object.entries(live.parts.state ?? {});
  fill($("parts"), parts.map(([name, text]) =>
    h("li", {}, text === "ok" ? mark("good", labelled(name)) : text === "unknown" ? mark("none", `${labelled(name)}: not used yet`) : h("span", { class: "mark bad long" }, `${labelled(name)}: ${text}`))));
}

function showConnection() {
  const away = live.connection !== "live";
  $("connection").className = `connection mark ${away ? "warn" : "good"}`;
  setText($("connection"), away ? "Connecting …" : "Live");
}

live.addEventListener("snapshot", showParts);
live.addEventListener("changes", ({ detail }) => detail.parts.includes("state") && showParts());
live.addEventListener("connection", showConnection);
window.addEventListener("hashchange", () => route());
$("logout").addEventListener("click", async () => {
  try { await remove("session"); } catch { /* it has ended already, or the agent is away: the cookie is of no use here */ }
  loggedOut();
});
onLoggedOut.tell = () => { if (session) loggedOut("The session has ended: log in again."); };
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the part of the address behind # says which view is shown
  $("main").focus();
});
showConnection();
try {
  loggedIn(await get("session"));
} catch (error) {
  loggedOut();
  if (error.status !== 401) fill($("main"), h("p", { class: "alert", role: "alert" }, error.message));
}
