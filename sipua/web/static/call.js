// One call: what is known of it, how good its sound was, its recording, and all that happened in order.

import { get, post, recordingUrl } from "./api.js";
import { plot } from "./chart.js";
import { fill, h, mark } from "./dom.js";
import { clockMs, costOf, dayAndClock, duration, figure, kindOf, kindOfMos, who, words } from "./format.js";

const KINDS = { sip: "SIP", attempt: "Attempts", media: "Media", session: "Sessions", conversation: "Conversation", tool: "Tools", consent: "Consent" };
const QUIET = new Set(["response_created", "response_done", "committed", "item_created", "speech_started", "speech_stopped", "updated"]);

export function callView({ id, live, may }) {
  const body = h("div", { "aria-busy": "true", class: "quiet" }, "Fetching …");
  let stays = true;

  async function load() {
    try {
      const story = await get(`calls/${encodeURIComponent(id)}`);
      if (stays) fill(body, page(story, may));
      body.className = "stack";
    } catch (error) {
      if (stays) fill(body, h("p", { class: "alert", role: "alert" }, error.status === 404 ? "There is no such call." : error.message));
    }
    body.removeAttribute("aria-busy");
  }

  // the rows of an end come a moment after it
  const ended = ({ detail }) => {
    if (detail.gone.some((each) => each.id === id)) setTimeout(() => stays && load(), 1500);
  };
  live.addEventListener("changes", ended);
  load();
  return { title: "Call", element: [body], leave: () => { stays = false; live.removeEventListener("changes", ended); } };
}

function page(story, may) {
  const { call } = story;
  return [
    h("div", { class: "head" },
      h("h1", {}, "Call ", h("span", { class: "mono" }, `${who(call, "from")} → ${who(call, "to")}`)),
      h("div", { class: "row" }, mark(kindOf(call.status), words(call.status)), may("operate") ? numbers(call) : false)),
    h("section", { class: "panel", "aria-labelledby": "facts" }, h("h2", { id: "facts" }, "Facts"), facts(story)),
    recordings(story),
    h("section", { "aria-labelledby": "quality" }, h("h2", { id: "quality" }, "Quality"), quality(story)),
    h("section", { class: "panel", "aria-labelledby": "timeline" }, h("h2", { id: "timeline" }, "Timeline"), timeline(story)),
  ];
}

function facts({ call, media, models }) {
  const found = media?.quality ?? {};
  const far = media?.far_end ?? {};
  const rows = [
    ["Started", dayAndClock(call.started_at)],
    ["Ended", call.ended_at ? dayAndClock(call.ended_at) : "still up"],
    ["Talked", duration(call.duration_seconds)],
    ["Direction", call.direction],
    ["Trunk", [...new Set([call.trunk, call.provider])].filter(Boolean).join(", ")],
    ["Outcome", words(call.outcome)],
    ["Wanted", call.intent],
    ["Note", call.last_note],
    ["Language", [call.locale, call.country].filter(Boolean).join(", ")],
    ["First word after", figure(call.first_time_to_assistant_seconds, 2, " s")],
    ["Handed to", call.handoff ? call.handoff_target ?? "a person" : null],
    ["Recording allowed", call.consent_recorded_at ? (call.consent_obtained ? "yes" : "no") : null],
    ["Cost", costOf(call).filter(Boolean).join(" / ")],
    ["Model", models.join(", ")],
    ["MOS", typeof found.mos === "number" ? mark(kindOfMos(found.mos), figure(found.mos, 2)) : null],
    ["We heard", media ? `${figure(media.received, 0)} packets, ${figure(media.lost, 0)} lost, jitter ${figure(media.jitter_ms, 1)} ms` : null],
    ["They heard", far.jitter_ms !== undefined ? `${figure(far.lost_percent, 1)} % lost, jitter ${figure(far.jitter_ms, 1)} ms, round trip ${figure(far.rtt_ms, 0)} ms` : null],
    ["SIP Call-ID", call.sip_session_id && h("span", { class: "mono" }, call.sip_session_id)],
    ["Carrier's id", call.twilio_call_sid ?? call.mtn_call_sid],
    ["Id", h("span", { class: "mono" }, call.id)],
  ];
  return h("dl", { class: "facts-list" }, rows
    .filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== "–")
    .map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value))));
}

/** Full numbers, for who may operate, and each time on demand: the server writes down who asked. */
function numbers(call) {
  const shown = h("span", { class: "mono", role: "status" });
  const button = h("button", { type: "button", class: "small", onclick: async () => {
    try {
      const found = await post(`calls/${encodeURIComponent(call.id)}/numbers`);
      fill(shown, `${found.from ?? "unknown"} → ${found.to ?? "unknown"}`);
      button.remove();
    } catch (error) {
      fill(shown, error.message);
    }
  } }, "Show the numbers");
  return [shown, button];
}

function recordings({ recordings: found, call }) {
  if (!found.length) return false;
  return h("section", { class: "panel", "aria-labelledby": "recording" },
    h("h2", { id: "recording" }, "Recording"),
    found.map((each) => player(each, call)));
}

/** The link is signed and short-lived: it is made when somebody wants to listen. */
function player(recording, call) {
  const place = h("div");
  const button = h("button", { type: "button", onclick: async () => {
    try {
      button.disabled = true;
      const { recordings } = await get(`calls/${encodeURIComponent(call.id)}`);
      const { url } = recordings.find((each) => each.consent_id === recording.consent_id);
      const audio = h("audio", { controls: true, src: recordingUrl(url), preload: "metadata", "aria-label": "Recording of the call" });
      fill(place, audio);
      audio.focus();
    } catch (error) {
      button.disabled = false;
      fill(place, button, h("p", { class: "alert", role: "alert" }, error.message));
    }
  } }, "Fetch the recording");
  fill(place, button);
  return place;
}

function quality({ points, turns, call }) {
  const series = (name) => points.filter((p) => typeof p[name] === "number").map((p) => [p.at_s, p[name]]);
  const common = { text: duration, xLabel: "Since the answer" };
  if (!points.length && !turns.length)
    return h("p", { class: "panel empty" }, call.ended_at ? "Nothing was measured on this call." : "The figures of a call come at its end.");
  return h("div", { class: "plots" },
    plot({ ...common, title: "MOS of what we heard", unit: "MOS", points: series("mos"), floor: 1, most: 5, limit: 3.6, digits: 2 }),
    plot({ ...common, title: "Packets lost", unit: "%", points: series("loss_percent"), least: 1, digits: 1 }),
    plot({ ...common, title: "Jitter", unit: "ms", points: series("jitter_ms"), least: 5, digits: 1 }),
    plot({ ...common, title: "Turn latency (the caller stops, the agent speaks)", unit: "ms", kind: "dots", points: turns.filter((t) => typeof t.ms === "number").map((t) => [t.at_s, t.ms]), least: 500, limit: 800, digits: 0 }));
}

function timeline({ timeline: entries, cut = [] }) {
  const chosen = new Set(Object.keys(KINDS));
  let all = false;
  const list = h("ol", { class: "timeline" });
  const count = h("p", { class: "quiet", role: "status" });

  function show() {
    const seen = entries.filter((entry) => chosen.has(entry.kind) && (all || !QUIET.has(entry.what)));
    fill(list, seen.map((entry) => h("li", {},
      h("time", { datetime: entry.t }, clockMs(entry.t)),
      h("span", { class: "kind" }, KINDS[entry.kind] ?? entry.kind),
      h("span", { class: entry.what === "said" ? "said" : false }, entry.what === "said" || entry.kind === "attempt" || entry.kind === "tool" ? entry.text : [words(entry.what), entry.text && `: ${entry.text}`]))));
    fill(count, `${seen.length} of ${entries.length} entries` + (cut.length ? `; of ${cut.join(", ")} only the latest` : ""));
  }

  const box = (label, checked, change) =>
    h("label", { class: "inline" }, h("input", { type: "checkbox", checked, onchange: (event) => { change(event.target.checked); show(); } }), label);
  show();
  return [
    h("fieldset", { class: "kinds" }, h("legend", { class: "unseen" }, "What is shown"),
      Object.entries(KINDS).map(([kind, label]) => box(label, true, (on) => (on ? chosen.add(kind) : chosen.delete(kind)))),
      box("Every event", false, (on) => { all = on; })),
    count, list,
  ];
}
