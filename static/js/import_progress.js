// The bar of a running import: asks every second how far it is, and shows the page anew when it has ended.
import { follow } from "./follow.js";

const box = document.getElementById("import");
const words = document.getElementById("import-words");
const bar = document.getElementById("import-bar");
let first = null; // when the first photos were counted, for the time that is left

function left(done, total) {
  if (first === null || done < first.done) first = { done, at: performance.now() };
  const rate = (done - first.done) / (performance.now() - first.at); // photos per millisecond
  if (!(rate > 0)) return "";
  const seconds = Math.ceil((total - done) / rate / 1000);
  return seconds > 90 ? `, about ${Math.round(seconds / 60)} minutes left` : `, about ${seconds} seconds left`;
}

function show({ waiting, done, total, downloaded }) {
  if (waiting) {
    words.textContent = waiting;
  } else if (downloaded) {
    words.textContent = `${(downloaded / 1e6).toFixed(1)} MB are downloaded …`;
  } else if (!total) {
    words.textContent = "Looking what is in it …";
  } else if (done === total) {
    words.textContent = `${total} photos are read; now they are compared and stored.`;
  } else {
    words.textContent = `${done} of ${total} photos${left(done, total)}`;
  }
  bar.max = total || 1;
  bar.value = done;
}

follow(() => box.dataset.progress, {
  show,
  ended: () => location.reload(),
  away: () => { words.textContent = "The site does not answer just now; the import goes on meanwhile."; },
  every: 1000,
});
