// What goes on now, by server-sent events. The browser comes back by itself where the connection was lost (and names the
// last event that it has); where it was refused, we ask whether the session lasts, and try again.

import { get, url } from "./api.js";

const AGAIN_MS = [1000, 2000, 4000, 8000];

/** Live state with listeners. `connection`: "live", "away". */
export class Live extends EventTarget {
  calls = new Map();
  gone = new Map(); // the last few, as they ended
  parts = {};
  up = 0;
  connection = "away";
  #source = null;
  #timer = 0;
  #failures = 0;
  #skew = 0;

  start() {
    this.stop();
    const source = new EventSource(url("events"));
    this.#source = source;
    source.addEventListener("open", () => { this.#failures = 0; this.#connected("live"); });
    source.addEventListener("snapshot", (event) => this.#snapshot(JSON.parse(event.data)));
    source.addEventListener("changes", (event) => this.#changes(JSON.parse(event.data)));
    source.addEventListener("bye", (event) => { if (event.data !== "slow") this.#again(); });
    source.addEventListener("error", () => {
      this.#connected("away");
      if (source.readyState === EventSource.CLOSED) this.#again();
    });
  }

  stop() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  /** The agent's clock, as far as it is known. */
  now() {
    return Date.now() + this.#skew;
  }

  #again() {
    this.stop();
    this.#connected("away");
    const wait = AGAIN_MS[Math.min(this.#failures++, AGAIN_MS.length - 1)];
    this.#timer = setTimeout(async () => {
      try {
        await get("session"); // 401: the page goes to the login, which stops us
        this.start();
      } catch (error) {
        if (error.status !== 401) this.#again();
      }
    }, wait);
  }

  #connected(how) {
    this.connection = how;
    this.dispatchEvent(new Event("connection"));
  }

  #snapshot(told) {
    const { calls, up, now, ...parts } = told;
    this.#skew = new Date(now).getTime() - Date.now();
    this.calls = new Map(calls.map((call) => [call.id, { ...call, lines: new Map(call.lines.map((l) => [l.item, l])) }]));
    this.gone.clear();
    this.up = up;
    this.parts = parts;
    this.dispatchEvent(new Event("snapshot"));
    this.#connected("live");
  }

  #changes(told) {
    const { calls = [], lines = [], gone = [], up = this.up, ...parts } = told;
    for (const change of calls) {
      const known = this.calls.get(change.id);
      if (known) Object.assign(known, change);
      else if (change.started_at) this.calls.set(change.id, { ...change, lines: new Map() });
    }
    for (const line of lines) this.calls.get(line.call)?.lines.set(line.item, line);
    for (const each of gone) {
      const call = this.calls.get(each.id);
      this.calls.delete(each.id);
      if (call) this.gone.set(each.id, { ...call, ...each, over: true });
    }
    while (this.gone.size > 6) this.gone.delete(this.gone.keys().next().value);
    this.up = up;
    Object.assign(this.parts, parts);
    const detail = { calls, lines, gone, parts: Object.keys(parts) };
    this.dispatchEvent(new CustomEvent("changes", { detail }));
  }
}
