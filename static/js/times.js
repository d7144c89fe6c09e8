// Times in the viewer's zone, with UTC at hand as their title. The server writes UTC: as <time datetime>, and in
// sentences, directly within [data-times], as "14:01:21 UTC" or "12 Nov 08:11 UTC". A label with data-zone names the
// zone. Everything else, such as what users wrote, stays as it is, and so does a <time> within [data-utc].
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const IN_WORDS = new RegExp(`(?:(\\d{1,2}) (${MONTHS.join("|")})(?: (\\d{4}))? )?(\\d\\d):(\\d\\d)(?::(\\d\\d))?\\s+UTC`);
const pad = (number) => String(number).padStart(2, "0");

// How each part is read from a moment: of the viewer's zone, or of UTC.
const LOCAL = {
  day: (at) => at.getDate(), month: (at) => at.getMonth(), year: (at) => at.getFullYear(),
  clock: (at) => [at.getHours(), at.getMinutes(), at.getSeconds()].map(pad),
};
const UTC = {
  day: (at) => at.getUTCDate(), month: (at) => at.getUTCMonth(), year: (at) => at.getUTCFullYear(),
  clock: (at) => [at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()].map(pad),
};

const date = (at, zone) => `${zone.day(at)} ${MONTHS[zone.month(at)]}`;
const full = (at, zone) => `${date(at, zone)} ${zone.year(at)}, ${zone.clock(at).join(":")}`;
const isSameDay = (one, other) => one.toDateString() === other.toDateString();

// In the form of the text that the server wrote: a time of day, a date, both with the year, or a moment; the lines of a
// log keep their seconds.
function shorten(at, text, hasSeconds) {
  if (hasSeconds) return `${isSameDay(at, new Date()) ? "" : `${date(at, LOCAL)} `}${LOCAL.clock(at).join(":")}`;
  const minutes = LOCAL.clock(at).slice(0, 2).join(":");
  const year = at.getFullYear() === new Date().getFullYear() ? "" : ` ${at.getFullYear()}`;
  if (/^\d\d:\d\d$/.test(text)) return minutes;
  if (/\d{4}, /.test(text)) return `${date(at, LOCAL)} ${at.getFullYear()}, ${minutes}`;
  if (/^\d{1,2} \w{3}( \d{4})?$/.test(text)) return `${date(at, LOCAL)}${/ \d{4}$/.test(text) ? ` ${at.getFullYear()}` : ""}`;
  if (!isSameDay(at, new Date())) return `${date(at, LOCAL)}${year} ${minutes}`;
  return /:\d\d:/.test(text) ? LOCAL.clock(at).join(":") : minutes;
}

function write(time, at, text) {
  time.textContent = shorten(at, text, time.hasAttribute("data-seconds"));
  time.title = `${full(at, UTC)} UTC`;
}

// The moment of a match: without a day it is of today, in UTC.
function momentOf([, day, month, year, hours, minutes, seconds]) {
  const now = new Date();
  const clock = [Number(hours), Number(minutes), Number(seconds ?? 0)];
  if (day) return new Date(Date.UTC(Number(year ?? now.getUTCFullYear()), MONTHS.indexOf(month), Number(day), ...clock));
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate(), ...clock));
}

export function localizeTime(time) {
  if (!new Date().getTimezoneOffset() || time.title || time.closest("[data-utc]") || !time.textContent.trim()) return;
  write(time, new Date(time.dateTime), time.textContent.trim());
}

function localizeWords(text) {
  for (let rest = text, match = rest.data.match(IN_WORDS); match; match = rest.data.match(IN_WORDS)) {
    const found = rest.splitText(match.index);
    rest = found.splitText(match[0].length);
    const at = momentOf(match);
    const time = document.createElement("time");
    time.dateTime = at.toISOString();
    write(time, at, match[0].replace(/\s+UTC$/, ""));
    found.replaceWith(time);
  }
}

// Every time below `root`. What has been localized is left as it is.
export function localize(root) {
  if (!new Date().getTimezoneOffset()) return;
  for (const time of root.querySelectorAll("time[datetime*=T]")) localizeTime(time);
  for (const element of root.querySelectorAll("[data-times]")) {
    for (const node of [...element.childNodes]) if (node.nodeType === Node.TEXT_NODE) localizeWords(node);
  }
  const parts = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" }).formatToParts();
  const zone = parts.find((part) => part.type === "timeZoneName").value;
  for (const label of root.querySelectorAll("[data-zone]")) label.textContent = zone;
}

// Fields for a time are read in the zone that their hidden field names: the viewer's, unless the address came with one.
export function nameZones() {
  for (const field of document.querySelectorAll("[data-viewer-zone]")) {
    field.value ||= Intl.DateTimeFormat().resolvedOptions().timeZone;
    document.getElementById(field.dataset.viewerZone).textContent = field.value;
  }
}
