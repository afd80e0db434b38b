// The bar of a batch under way: asks every second how far it is, and shows the page anew when it has ended.
import { follow } from "./follow.js";

const words = document.getElementById("state");
const bar = document.getElementById("bar");
const LOOK = 1000; // milliseconds

/** As classifier/views/batches.py says it. */
function left(seconds) {
  if (seconds === null) return "";
  if (seconds < 1.5) return ", about a second left";
  if (seconds < 90) return `, about ${Math.round(seconds)} seconds left`;
  if (seconds < 5400) return `, about ${Math.round(seconds / 60)} minutes left`;
  return `, about ${(seconds / 3600).toFixed(1)} hours left`;
}

function show({ status, progress, eta_seconds }) {
  bar.max = progress.total || 1;
  bar.value = progress.done;
  if (status === "listing") words.textContent = "Looking what is there …";
  if (status !== "predicting") return; // while it waits the page's own words stay
  const total = progress.total === 1 ? "1 photo" : `${progress.total.toLocaleString("en")} photos`;
  words.textContent = `${progress.done.toLocaleString("en")} of ${total}${left(eta_seconds)}`;
}

follow(() => words.dataset.url, {
  show,
  ended: () => location.reload(),
  away: () => { words.textContent = "The site does not answer just now; the batch goes on meanwhile."; },
  every: LOOK,
  wait: LOOK,
});
