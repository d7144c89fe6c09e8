// What every page has: the theme without a reload, and selects that apply themselves.
import "./theme.js";

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
});
