// Keeps the page up to date: the server pushes htmx out-of-band fragments over a WebSocket. After the line was away
// the server sends everything anew, so nothing can be missed.
import { isLeaving, reload } from "./leaving.js";
import { localize } from "./times.js";

const root = document.querySelector("[data-live]");
const state = document.querySelector("[data-live-state]");
const ENDED = 4403; // the session or the right to see this is over
const DELETED = 4410; // what the page shows was deleted; the last message says so
const QUIET_MILLISECONDS = 25_000; // the server says something every ten seconds
let heardAt = new Date();
let attempts = 0;
let quiet;

const clock = (at) => at.toTimeString().slice(0, 8);

function show(isLive) {
  if (!state) return;
  state.textContent = isLive ? "Live" : `Reconnecting, as of ${clock(heardAt)}`;
  state.classList.toggle("on", isLive);
  state.classList.toggle("away", !isLive);
}

// What the page shows already is left alone: no flicker, no lost focus, no closed details.
function onlyNew(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  localize(template.content);
  for (const piece of [...template.content.children]) {
    const shown = document.getElementById(piece.id);
    if (!shown || piece.getAttribute("hx-swap-oob") !== "true") continue;
    const plain = piece.cloneNode(true);
    plain.removeAttribute("hx-swap-oob");
    for (const open of shown.querySelectorAll("details[id]")) {
      for (const one of [piece, plain]) one.querySelector(`#${CSS.escape(open.id)}`)?.toggleAttribute("open", open.open);
    }
    if (plain.isEqualNode(shown)) piece.remove();
  }
  return template.innerHTML;
}

function swap(html) {
  const news = onlyNew(html);
  if (!news.trim()) return;
  htmx.swap(document.body, news, { swapStyle: "none" });
  document.dispatchEvent(new CustomEvent("live:pushed"));
}

function listen(socket) {
  clearTimeout(quiet);
  quiet = setTimeout(() => socket.close(), QUIET_MILLISECONDS);
  heardAt = new Date();
}

// Refused at the door or put out: the page itself says why. True when it is being loaded again.
async function pageIsOver() {
  if (isLeaving()) return false;
  const answer = await fetch(location.href, { method: "HEAD", redirect: "manual" }).catch(() => null);
  const isOver = Boolean(answer) && (answer.type === "opaqueredirect" || [403, 404].includes(answer.status));
  return isOver && reload();
}

// Nothing more will come: the page stays as it is, under its notice.
function end() {
  if (state) state.textContent = "Deleted";
  state?.classList.remove("on");
  state?.classList.add("away");
  document.querySelector("dialog:modal")?.close();
}

function connect() {
  const socket = new WebSocket(new URL(root.dataset.live, location.href.replace(/^http/, "ws")));
  let wasOpen = false;
  socket.onopen = () => {
    wasOpen = true;
    attempts = 0;
    listen(socket);
    show(true);
  };
  socket.onmessage = ({ data }) => {
    listen(socket);
    swap(data);
  };
  socket.onclose = async ({ code }) => {
    clearTimeout(quiet);
    if (code === DELETED) return end();
    show(false);
    if ((!wasOpen || code === ENDED) && (await pageIsOver())) return;
    attempts += 1;
    setTimeout(connect, Math.min(8000, 250 * 2 ** attempts) * (0.75 + Math.random() / 2));
  };
}

if (root) connect();
