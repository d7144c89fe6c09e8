// Follows a log. The stream's address is data, not a link: it never ends. Lines are text, never markup.
import { reload } from "./leaving.js";
import { localizeTime } from "./times.js";

const log = document.querySelector("[data-log-stream]");
const state = document.querySelector("[data-log-state]");
const pause = document.querySelector("[data-log-pause]");
const MOST_LINES = 3000;
const RETRY_MILLISECONDS = 2000;
const LIVE = "Live";
let held = null; // while paused: what is to be shown then, as the stream sends it

function say(words, isAway = false) {
  state.textContent = words;
  state.classList.toggle("on", words === LIVE);
  state.classList.toggle("away", isAway);
}

function told() {
  const count = held?.lines.length;
  say(held ? `Paused, ${count} new ${count === 1 ? "line" : "lines"}` : LIVE);
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function row({ at, time, replica, parts }) {
  const made = document.createElement("div");
  const when = element("time", time);
  when.toggleAttribute("data-seconds", Boolean(at));
  if (at) when.dateTime = at;
  localizeTime(when);
  const text = document.createElement("span");
  text.append(...parts.map(([piece, isMatch]) => (isMatch ? element("mark", piece) : piece)));
  made.append(when, element("b", replica), text);
  return made;
}

function show({ lines, anew }) {
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  const empty = log.querySelector("[data-log-empty]");
  if (anew) log.replaceChildren(empty);
  empty.before(...lines.map(row));
  while (log.childElementCount > MOST_LINES + 1) log.firstElementChild.remove();
  empty.hidden = log.childElementCount > 1;
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

function take(came) {
  if (!held) show(came);
  else held = came.anew ? came : { ...held, lines: [...held.lines, ...came.lines].slice(-MOST_LINES) };
}

function turn() {
  if (held) show(held);
  held = held ? null : { lines: [], anew: false };
  pause.textContent = held ? "Resume" : "Pause";
  told();
}

// True when the log has ended and nothing more will come.
async function follow() {
  const response = await fetch(log.dataset.logStream + location.search, { headers: { Accept: "text/event-stream" } });
  if (response.redirected || response.status === 404) {
    if (reload()) return true;
    throw new Error("on the way to another page");
  }
  if (!response.ok) throw new Error(response.status);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    const events = (rest + chunk.value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const [, name, data] = event.match(/^event: (\w+)\ndata: (.*)$/) ?? [];
      if (name === "ended") return true;
      if (name === "trouble") say(JSON.parse(data).words, true);
      if (name === "lines") take(JSON.parse(data));
      if (name !== "trouble") told();
    }
  }
  return false;
}

async function keepFollowing() {
  for (;;) {
    try {
      if (await follow()) break;
    } catch {
      // the line was cut: said below, tried again
    }
    say(`Reconnecting, as of ${new Date().toTimeString().slice(0, 8)}`, true);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS));
  }
  if (held) turn();
  pause.disabled = true;
  say("The log has ended");
}

if (log) {
  log.scrollTop = log.scrollHeight;
  pause.hidden = false;
  pause.addEventListener("click", turn);
  keepFollowing();
}
