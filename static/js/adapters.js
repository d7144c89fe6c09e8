// Rows for adapters, added and removed in place. Without script the same buttons send the form, and the page comes
// back with a row more or less.
const box = document.querySelector("[data-adapters]");
const rows = box.querySelector("[data-rows]");
const blank = box.querySelector("template");
let next = 1 + Math.max(-1, ...[...rows.querySelectorAll("input")].map((input) => Number(input.id.split("-")[1])));

const tell = () => rows.dispatchEvent(new Event("input", { bubbles: true }));

box.addEventListener("click", (event) => {
  const button = event.target.closest("[data-add], [data-remove]");
  if (!button) return;
  event.preventDefault();
  if (button.matches("[data-add]")) {
    rows.insertAdjacentHTML("beforeend", blank.innerHTML.replaceAll("__prefix__", next));
    next += 1;
    rows.lastElementChild.querySelector("input").focus();
  } else {
    const row = button.closest("li");
    const beside = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (beside?.querySelector("input") ?? box.querySelector("[data-add]")).focus();
    tell();
  }
});
