// The theme switch without a reload: the server still writes the cookie, the page takes the theme on at once.
const NEXT = { dark: "light", light: "system", system: "dark" };

function show(form, theme) {
  const button = form.querySelector("button");
  button.value = NEXT[theme];
  button.title = `Theme: ${theme}`;
  button.setAttribute("aria-label", `Theme: ${theme}. Change to ${NEXT[theme]}`);
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-theme-switch]")) return;
  event.preventDefault();
  const theme = form.querySelector("button").value;
  const body = new FormData(form);
  body.set("theme", theme);
  const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" }).catch(() => null);
  if (answer && (answer.ok || answer.type === "opaqueredirect")) show(form, theme);
});
