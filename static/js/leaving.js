// Loads the page again, unless the browser is on its way to another one: that would be cancelled, and what was submitted
// would seem lost.
const LEAVING_MILLISECONDS = 30_000; // by then it has gone, or stayed: a download, or a navigation that was stopped
let leftAt = -Infinity;

addEventListener("beforeunload", () => {
  leftAt = performance.now();
});

export const isLeaving = () => performance.now() - leftAt < LEAVING_MILLISECONDS;

// Whether it does.
export function reload() {
  if (isLeaving()) return false;
  location.reload();
  return true;
}
