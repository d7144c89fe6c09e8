// Dialogs and copying. Without script the links lead to pages that ask the same, and text can be selected.
document.addEventListener("click", async (event) => {
  const opener = event.target.closest("[data-opens]");
  const dialog = opener && document.getElementById(opener.dataset.opens);
  if (dialog) {
    event.preventDefault();
    dialog.showModal();
    return;
  }
  event.target.closest("[data-closes]")?.closest("dialog").close();
  const copier = event.target.closest("[data-copies]");
  if (copier) await copy(copier, document.getElementById(copier.dataset.copies));
});

async function copy(button, source) {
  await navigator.clipboard.writeText(source.textContent);
  const use = button.querySelector("use");
  const before = use.getAttribute("href");
  if (before.endsWith("#check")) return;
  use.setAttribute("href", before.replace(/#.*/, "#check"));
  setTimeout(() => use.setAttribute("href", before), 1500);
}
