// The playground without a reload: posts the same form, reads the stream, and shows the conversation, what the answer
// waits for, its figures, and problems. What was typed stays until it was answered.
import { reload } from "./leaving.js";

const form = document.querySelector("[data-playground]");
const box = form?.closest("section");
const part = (name) => box.querySelector(`[data-${name}]`);
let running;

const turns = () => JSON.parse(form.elements.history.value || "[]");

function keep(history) {
  form.elements.history.value = history.length ? JSON.stringify(history) : "";
  part("clear").hidden = !history.length;
}

function show(name, text) {
  part(name).hidden = !text;
  part(name).querySelector("span").textContent = text;
}

function begin(isRunning) {
  part("stop").hidden = !isRunning;
  part("send").disabled = part("clear").disabled = isRunning;
  part("turns").toggleAttribute("aria-busy", isRunning);
  if (!isRunning) part("waiting").hidden = true;
}

function addTurn(role, text) {
  const turn = part("turn").content.firstElementChild.cloneNode(true);
  turn.classList.add(role);
  turn.querySelector(".quiet").textContent = role === "user" ? "You" : form.dataset.playground;
  turn.querySelector(".said").textContent = text;
  part("turns").append(turn);
  part("turns").scrollTop = part("turns").scrollHeight;
  return turn;
}

function showFigures(figures) {
  const strong = (text) => Object.assign(document.createElement("b"), { className: "ink", textContent: text });
  const cold = figures.cold_start_seconds === null ? [] : ["Cold start ", strong(`${figures.cold_start_seconds} s`), " · "];
  part("figures").hidden = false;
  part("figures").replaceChildren(
    ...cold, "TTFT ", strong(`${figures.ttft_ms} ms`), " · ITL ", strong(`${figures.itl_ms} ms`),
    ` · ${figures.input_tokens} in, ${figures.output_tokens} out`,
  );
}

function showWaiting({ words, elapsed, expected }) {
  part("waiting").hidden = false;
  if (part("waiting-words").textContent !== words) part("waiting-words").textContent = words;
  part("waiting-elapsed").textContent = elapsed;
  part("waiting-expected").textContent = expected;
}

// The errors of fields, each with the label of its field.
function showErrors(errors) {
  const words = Object.entries(errors).map(([name, text]) => {
    form.elements[name].setAttribute("aria-invalid", "true");
    const label = form.querySelector(`label[for=${name}]`);
    return label ? `${label.textContent}: ${text}` : text;
  });
  show("problem", words.join(" "));
}

// One question: its two turns on the page, and the text that has arrived.
class Exchange {
  constructor(message) {
    this.message = message;
    this.elements = [addTurn("user", message), addTurn("assistant", "")];
    this.said = this.elements[1].querySelector(".said");
    for (const earlier of box.querySelectorAll("[data-said]")) earlier.removeAttribute("data-said");
    this.said.dataset.said = "";
    this.isComplete = false;
  }

  take(name, data) {
    if (name === "waiting") return showWaiting(data);
    part("waiting").hidden = true;
    if (name === "text") {
      this.said.append(data.text);
      part("turns").scrollTop = part("turns").scrollHeight;
    }
    if (name === "problem") show("problem", data.words);
    if (name === "figures") {
      showFigures(data);
      this.isComplete = true;
    }
  }

  // An answered question joins the conversation; else the message stays in its field and what came of the answer is
  // shown until the next question.
  end(isStopped) {
    const text = this.said.textContent;
    if (this.isComplete || (isStopped && text)) {
      keep([...turns(), { role: "user", content: this.message }, { role: "assistant", content: text }]);
      form.elements.message.value = "";
    } else {
      for (const element of this.elements) element.toggleAttribute("data-unanswered", true);
      if (!text) this.remove();
    }
  }

  remove() {
    for (const element of this.elements) element.remove();
  }
}

async function read(response, exchange) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    const events = (rest + chunk.value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const [, name, data] = event.match(/^event: (\w+)\ndata: (.*)$/);
      exchange.take(name, JSON.parse(data));
    }
  }
  if (!exchange.isComplete && part("problem").hidden) throw new Error("the stream ended early");
}

async function send() {
  running = new AbortController();
  for (const unanswered of box.querySelectorAll("[data-unanswered]")) unanswered.remove();
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  part("figures").hidden = true;
  show("problem", "");
  const exchange = new Exchange(form.elements.message.value);
  begin(true);
  let isStopped = false;
  try {
    const headers = { Accept: "text/event-stream" };
    const response = await fetch(form.action, {
      method: "POST", body: new FormData(form), headers, signal: running.signal,
    });
    if (response.redirected) return reload();
    if (response.headers.get("content-type").startsWith("text/event-stream")) await read(response, exchange);
    else if (response.status === 422) showErrors((await response.json()).errors);
    else show("problem", `The console returned the status ${response.status}. Reload the page and try again.`);
  } catch (error) {
    isStopped = error.name === "AbortError";
    if (!isStopped) show("problem", "Connection lost. Send the message again.");
  } finally {
    exchange.end(isStopped);
    if (isStopped) {
      part("figures").hidden = false;
      part("figures").textContent = "Stopped. Tokens received so far are counted.";
    }
    begin(false);
    form.elements.message.focus();
  }
}

function clear() {
  keep([]);
  part("turns").replaceChildren();
  part("figures").hidden = true;
  show("problem", "");
  form.elements.message.focus();
}

if (form) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (event.submitter?.matches("[data-clear]")) clear();
    else send();
  });
  part("stop").addEventListener("click", () => running.abort());
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) form.requestSubmit(part("send"));
  });
}
