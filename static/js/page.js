// What every page has: times of the viewer's zone, the theme without a reload, selects that apply themselves, forms that
// say that they are sent.
import "./theme.js";
import { localize, nameZones } from "./times.js";

localize(document.body);
nameZones();

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
});

// A form on its way says so at its button, and is not sent twice. What a script or a dialog answers is not sent.
const BUSY_MILLISECONDS = 15_000; // by then the answer has come, or the browser was stopped

function setBusy(form, buttons) {
  form.toggleAttribute("data-sent", buttons.length > 0);
  for (const button of form.elements) button.removeAttribute("aria-busy");
  for (const button of buttons) button.setAttribute("aria-busy", "true");
}

addEventListener("submit", (event) => {
  const { target: form, submitter } = event;
  if (event.defaultPrevented || (submitter?.formMethod || form.method) !== "post") return;
  if (form.hasAttribute("data-sent")) {
    event.preventDefault();
    return;
  }
  const isShown = submitter && !submitter.matches("[aria-hidden]");
  setBusy(form, isShown ? [submitter] : [...form.elements].filter((element) => element.matches(".primary")));
  setTimeout(() => setBusy(form, []), BUSY_MILLISECONDS);
});

// A page that the browser shows again as it was left has the choices that led away from it: its filters are set back to
// what it shows, and its forms may be sent.
addEventListener("pageshow", ({ persisted }) => {
  if (!persisted) return;
  for (const form of document.forms) {
    setBusy(form, []);
    if (form.matches(".toolbar")) form.reset();
  }
});
