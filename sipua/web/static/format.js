// Values as people read them. Times are those of the agent's time zone, not of the browser's.

let zone; // undefined: the browser's

export function useZone(name) {
  try {
    zone = name ? new Intl.DateTimeFormat("en-GB", { timeZone: name }).resolvedOptions().timeZone : undefined;
  } catch {
    zone = undefined; // a browser whose table of zones is older
  }
}

const formats = new Map();

function format(at, options) {
  const key = JSON.stringify([zone, options]);
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat("en-GB", { ...options, timeZone: zone }));
  return formats.get(key).format(new Date(at));
}

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false };

export const clock = (at) => (at ? format(at, CLOCK) : "");
export const clockMs = (at) => (at ? format(at, { ...CLOCK, fractionalSecondDigits: 3 }) : "");
export const dayAndClock = (at) =>
  at ? `${format(at, { year: "numeric", month: "short", day: "2-digit" })}, ${clock(at)}` : "";

/** 75 → "1:15". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined || seconds < 0) return "–";
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}

const pad = (n) => String(n).padStart(2, "0");

/** At most `digits` after the point; "–" where there is nothing. */
export function figure(value, digits = 1, unit = "") {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  return value.toLocaleString("en-GB", { maximumFractionDigits: digits }) + unit;
}

export function money(value, currency) {
  if (typeof value !== "number") return "–";
  if (value === 0) return "–";
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 1 ? 2 : 4;
  return `${currency} ${value.toLocaleString("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

/** In US dollars, and in the second currency where the agent has one. */
export function costOf(call) {
  const other = call.currency && typeof call.cost === "number" ? money(call.cost, call.currency) : "";
  return [money(call.cost_usd, "USD"), other];
}

const STATUS = {
  completed: "good", in_progress: "good", talking: "good", up: "good", ringing: "warn", initiated: "none",
  incoming: "warn", outgoing: "warn", dialling: "warn", answering: "warn", held: "warn", no_answer: "warn", busy: "warn",
  failed: "bad", down: "bad", disabled: "none",
};

/** Which kind of mark a status has. */
export const kindOf = (status) => STATUS[status] ?? "none";
export const words = (text) => String(text ?? "").replaceAll("_", " ");
export const who = (call, side) => (call[side] && call[side] !== "-" ? call[side] : "unknown");

/** MOS (G.107 Annex B): 4.0 satisfied, 3.6 many are not. */
export const kindOfMos = (mos) => (typeof mos !== "number" ? "none" : mos >= 4 ? "good" : mos >= 3.6 ? "warn" : "bad");
