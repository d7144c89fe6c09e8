// Follows a replica's log. The stream's address is data, not a link: it never ends.
const log = document.querySelector("[data-log-stream]");
const state = document.querySelector("[data-log-state]");
const MOST_LINES = 3000;
const RETRY_MILLISECONDS = 2000;

function say(words, isAway = false) {
  state.textContent = words;
  state.classList.toggle("away", isAway);
}

function append({ lines, anew }) {
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  const shown = anew ? [] : log.textContent.split("\n");
  log.textContent = [...shown, ...lines].slice(-MOST_LINES).join("\n");
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

// True when the log has ended and nothing more will come.
async function follow() {
  const response = await fetch(log.dataset.logStream, { headers: { Accept: "text/event-stream" } });
  if (response.redirected || response.status === 404) return location.reload(), true;
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
      if (name === "lines") append(JSON.parse(data));
      if (name !== "trouble") say("Live");
    }
  }
  return false;
}

async function keepFollowing() {
  for (;;) {
    try {
      if (await follow()) return say("The log has ended");
    } catch {
      // the line was cut: said below, tried again
    }
    say(`Reconnecting, as of ${new Date().toISOString().slice(11, 19)}`, true);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MILLISECONDS));
  }
}

if (log) {
  log.scrollTop = log.scrollHeight;
  keepFollowing();
}
