// The playground without a reload: posts the same form, reads the stream, shows text, figures and problems.
import { reload } from "./leaving.js";

const form = document.querySelector("[data-playground]");
const answer = document.querySelector("[data-answer]");
const part = (name) => answer.querySelector(`[data-${name}]`);
let running;

function say(problem) {
  part("problem").hidden = !problem;
  part("problem").querySelector("span").textContent = problem;
}

function begin(isRunning) {
  form.querySelector("[data-stop]").hidden = !isRunning;
  form.querySelector("[type=submit]").disabled = isRunning;
  answer.toggleAttribute("aria-busy", isRunning);
}

const show = {
  text: ({ text }) => part("said").append(text),
  problem: ({ words }) => say(words),
  figures: (figures) => {
    const strong = (text) => Object.assign(document.createElement("b"), { className: "ink", textContent: text });
    part("figures").replaceChildren(
      "TTFT ", strong(`${figures.ttft_ms} ms`), " · ITL ", strong(`${figures.itl_ms} ms`),
      ` · ${figures.input_tokens} in, ${figures.output_tokens} out`,
    );
  },
};

async function read(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    const events = (rest + chunk.value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const [, name, data] = event.match(/^event: (\w+)\ndata: (.*)$/);
      show[name](JSON.parse(data));
    }
  }
}

async function send() {
  running = new AbortController();
  answer.hidden = false;
  part("said").textContent = "";
  part("figures").textContent = "";
  say("");
  begin(true);
  try {
    const headers = { Accept: "text/event-stream" };
    const response = await fetch(form.action, {
      method: "POST", body: new FormData(form), headers, signal: running.signal,
    });
    if (response.redirected) return reload();
    if (response.headers.get("content-type").startsWith("text/event-stream")) await read(response);
    else if (response.status === 422) say((await response.json()).words);
    else say(`The console answered ${response.status}. Reload the page and try again.`);
  } catch (error) {
    if (error.name === "AbortError") part("figures").textContent = "Stopped. What arrived so far is counted.";
    else say("The line to the console was cut. Try again.");
  } finally {
    begin(false);
  }
}

if (form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  form.querySelector("[data-stop]").addEventListener("click", () => running.abort());
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) form.requestSubmit();
  });
}
