// The form of a deployment: searching the catalog and stepping numbers. Without script all models are listed and
// numbers are typed.
const chooser = document.querySelector("[data-chooser]");
const search = chooser.querySelector("[data-chooser-search]");
const state = chooser.querySelector("[data-chooser-state]");
const models = [...chooser.querySelectorAll("[data-words]")];

search.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const model of models) {
    const fits = words.every((word) => model.dataset.words.includes(word));
    model.hidden = !fits;
    shown += fits;
  }
  state.textContent = words.length ? `${shown} of ${models.length} models` : `${models.length} models`;
});

// Enter in the search is not meant to create anything.
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter") event.preventDefault();
});
search.addEventListener("change", (event) => event.stopPropagation());
search.addEventListener("input", (event) => event.stopPropagation());

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-step]");
  if (!button) return;
  const input = document.getElementById(button.dataset.of);
  const now = Number.parseInt(input.value.replaceAll(",", ""), 10) || 0;
  input.value = String(Math.max(1, now + Number(button.dataset.step)));
  for (const kind of ["input", "change"]) input.dispatchEvent(new Event(kind, { bubbles: true }));
});

const chosen = models.find((model) => model.querySelector(":checked"));
if (chosen) {
  const list = chosen.parentElement; // it alone is scrolled: the page stays where it is
  list.scrollTop += Math.max(0, chosen.getBoundingClientRect().bottom - list.getBoundingClientRect().bottom);
}

// The panels beside the form are the server's: while it cannot be asked they say that they are old, and it is asked again.
// Each time it waits twice as long as before, and it does not repeat what was refused.
const RETRY_MILLISECONDS = 3000;
const MAX_RETRY_MILLISECONDS = 60_000;
const page = document.querySelector(".form-page");
const note = page.querySelector("[data-stale]");
let retryTimer;
let retryMilliseconds = RETRY_MILLISECONDS;

const mayPass = (status) => status === 0 || status === 429 || status >= 500; // 0: no answer

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (!detail.elt.matches(".side *")) return;
  const isOld = !detail.successful;
  page.toggleAttribute("data-old", isOld);
  note.hidden = !isOld;
  clearTimeout(retryTimer);
  if (!isOld) {
    retryMilliseconds = RETRY_MILLISECONDS;
    return;
  }
  const summary = document.querySelector("#edit-summary a");
  if (summary) summary.textContent = "Not up to date";
  if (!mayPass(detail.xhr.status)) return;
  retryTimer = setTimeout(() => {
    retryMilliseconds = Math.min(2 * retryMilliseconds, MAX_RETRY_MILLISECONDS);
    htmx.trigger(detail.elt, "retry");
  }, retryMilliseconds);
});

// What is said about the name now replaces what was wrong with it when the form was sent.
document.addEventListener("htmx:afterSwap", markName);

function markName() {
  const name = document.getElementById("name");
  const state = document.getElementById("name-state");
  if (!name || state.querySelector(".problem")) return;
  if (state.matches("[data-refused]")) name.setAttribute("aria-invalid", "true");
  else name.removeAttribute("aria-invalid");
}

// Settings that only another engine has are out of the way while that engine is not chosen.
const engines = document.getElementById("engine");
const groups = [...document.querySelectorAll("[data-engine]")];

function showGroups() {
  const chosen = engines.querySelector(":checked")?.value;
  for (const group of groups) group.hidden = group.dataset.engine !== chosen && !group.querySelector("[aria-invalid=true]");
}

engines.addEventListener("change", showGroups);
showGroups();
