// The replica range: two sliders over one scale beside the two numbers, which are what is sent; presets set them.
// The ends may meet, never cross: the one that is moved takes the other along.
const scaler = document.querySelector("[data-scaler]");
const form = scaler.closest("form");
const scale = scaler.querySelector(".range");
const sliders = { min: scale.querySelector("[data-bound=min]"), max: scale.querySelector("[data-bound=max]") };
const numbers = { min: scaler.querySelector("#min_replicas"), max: scaler.querySelector("#max_replicas") };
const fixed = scaler.querySelector("#fixed");
const count = scaler.querySelector("#replicas");
const presetWas = scaler.querySelector("[name=preset_was]");
const presets = [...scaler.querySelectorAll("[name=preset]")];
const LOWEST = { min: 0, max: 1 };
const ENDS = [8, 16, 32];
const most = Number(scale.dataset.most);

const read = (input, lowest) => {
  const value = Number.parseInt(input.value.replaceAll(",", ""), 10);
  return Number.isNaN(value) ? lowest : Math.min(most, Math.max(lowest, value));
};
const bounds = () => ({ min: read(numbers.min, 0), max: Math.max(read(numbers.max, 1), read(numbers.min, 0)) });
const line = (kind, x1, x2, y1 = 12, y2 = 12) => `<line class="${kind}" x1="${x1}" x2="${x2}" y1="${y1}" y2="${y2}"/>`;

function draw() {
  const { min, max } = bounds();
  const end = ENDS.find((one) => one >= max) ?? most;
  const room = Math.min(end, Number(document.getElementById("scaling").dataset.room) || end);
  const places = Array.from({ length: end + 1 }, (_, place) => place);
  const svg = scale.querySelector("svg");
  svg.setAttribute("viewBox", `0 0 ${end} 24`);
  svg.innerHTML = [
    line("base", 0, room), room < end ? line("beyond", room, end) : "",
    ...places.map((place) => line("tick", place, place, 6, 18)), line("span", min, max),
  ].join("");
  scale.querySelector("ol").innerHTML = places
    .map((place) => `<li>${place % (end / 8) ? "" : place}${place ? "" : '<span class="extra">&nbsp;sleeps</span>'}</li>`)
    .join("");
  for (const [bound, slider] of Object.entries(sliders)) {
    const value = { min, max }[bound];
    slider.max = end;
    slider.value = value;
    slider.setAttribute("aria-valuetext", value ? `${value} ${value === 1 ? "replica" : "replicas"}` : "0, sleeps");
  }
}

// The preset that the range comes to, and what each would come to.
function mark() {
  const { min, max } = bounds();
  const top = fixed.checked ? read(count, 1) : max;
  for (const preset of presets) {
    const low = preset.dataset.low;
    preset.closest("label").querySelector("[data-words]").textContent = low ? `${low} to ${top}` : `${top} fixed`;
    preset.checked = fixed.checked ? !low : Boolean(low) && Number(low) === min;
  }
  // The numbers are what is sent: the server is told that no preset was chosen besides.
  presetWas.value = presets.find((preset) => preset.checked)?.value ?? "";
  const sleep = document.getElementById("s-sleep");
  sleep.hidden = (fixed.checked || min > 0) && !sleep.querySelector("[aria-invalid]");
}

function take(preset) {
  const { max } = bounds();
  const top = fixed.checked ? read(count, 1) : max;
  fixed.checked = !preset.dataset.low;
  if (fixed.checked) count.value = top;
  else [numbers.min.value, numbers.max.value] = [preset.dataset.low, top];
}

function move(bound) {
  const value = Math.max(LOWEST[bound], Number(sliders[bound].value));
  const { min, max } = bounds();
  numbers[bound].value = value;
  if (bound === "min" && value > max) numbers.max.value = value;
  if (bound === "max" && value < min) numbers.min.value = value;
}

scaler.addEventListener("input", ({ target }) => {
  if (target.dataset.bound) move(target.dataset.bound);
  if (target.name === "preset") take(target);
  draw();
  mark();
});
document.addEventListener("htmx:afterSettle", draw);
form.addEventListener("reset", () => setTimeout(() => (draw(), mark())));
draw();
mark();
