// The page: choose, drop, paste, photograph or click an example; then wait, and see the answer or a sentence.
import { onDrop } from "./drop.js";
import { prepare } from "./photo.js";
import { pause, predict } from "./predict.js";
import { Problem } from "./problem.js";
import { show } from "./result.js";

const SLOW = 400; // milliseconds of upload after which a bar is worth showing
const LOOKS = 6; // for the page of the version that answered: another process may still have the one before
const BETWEEN_LOOKS = 500; // milliseconds

const stage = document.getElementById("stage");
const form = document.getElementById("ask");
const working = document.getElementById("working");
const problem = document.getElementById("problem");
const part = (name) => working.querySelector(`[data-part="${name}"]`);

let page = readPage(document);
let current = null; // the AbortController of the question under way
let preview = null; // the object URL of the photo shown

function askFirst(files) {
  if (!files.length) return;
  ask(files[0], files.length > 1 ? `Only the first of ${files.length} files was looked at.` : "");
}

async function ask(file, remark = "") {
  current?.abort();
  const mine = (current = new AbortController());
  const { signal } = mine;
  showPhoto(file);
  enter("working");
  say("One moment…");
  part("cancel").focus({ preventScroll: true });
  if (stage.getBoundingClientRect().top < 0) stage.scrollIntoView();
  try {
    const { photo, note } = await prepare(file, page.max_bytes);
    signal.throwIfAborted();
    const body = await predict(photo, { url: page.predict_url, token: token(), signal, onUpload: upload(), onWait });
    const names = await labelsOf(body.version.digest, signal);
    enter("done", body.message);
    show(document.getElementById("result"), { body, names, photo: preview, notes: [remark, note] });
  } catch (error) {
    if (signal.aborted) return;
    fail(error);
  } finally {
    if (current === mine) current = null;
  }
}

function enter(state, title = "") {
  stage.dataset.state = state;
  document.title = title ? `${title} · breedsite` : "breedsite";
  working.hidden = state !== "working";
  problem.hidden = state !== "failed";
  document.getElementById("result").hidden = state !== "done";
  if (state !== "working") {
    part("progress").hidden = true;
    form.reset();
  }
}

function fail(error) {
  enter("failed");
  const sentence = error instanceof Problem ? error.message : "Something went wrong on this page. Reload it and try again.";
  problem.querySelector("[data-part='sentence']").textContent = sentence;
  problem.querySelector("[data-part='sign-in']").hidden = error.code !== "auth_required";
  problem.focus({ preventScroll: true });
  problem.scrollIntoView({ block: "nearest" });
  if (!(error instanceof Problem)) throw error;
}

function say(sentence, countdown = "") {
  // Only the sentence is read aloud, once; a countdown would be read every second.
  if (part("status").textContent !== sentence) part("status").textContent = sentence;
  part("countdown").textContent = countdown;
}

function upload() {
  const start = performance.now();
  return (share) => {
    const bar = part("progress");
    bar.value = share;
    bar.hidden = share === 1 || performance.now() - start < SLOW;
    say(share < 1 ? "Sending the photo…" : "Looking at it…");
  };
}

function onWait(reason, seconds) {
  part("progress").hidden = true;
  say(reason, `Asking again in ${seconds} s.`);
}

function showPhoto(file) {
  if (preview) URL.revokeObjectURL(preview);
  preview = URL.createObjectURL(file);
  const image = part("preview");
  image.hidden = false;
  image.onerror = () => { image.hidden = true; };
  image.src = preview;
}

/** What a page says of its version; null for one on which none answers. */
function readPage(document) {
  return JSON.parse(document.getElementById("page-data")?.textContent ?? "null");
}

/** The labels of the version that answered; null where no page of it can be had. */
async function labelsOf(digest, signal) {
  for (let look = 1; page.digest !== digest && look <= LOOKS; look += 1) {
    if (look > 1) await pause(BETWEEN_LOOKS, signal);
    await refreshPage(digest, signal);
  }
  signal.throwIfAborted();
  return page.digest === digest ? page.labels : null;
}

async function refreshPage(digest, signal) {
  // Another version answers than the one this page was made for: its labels come with a fresh copy of the page.
  const reply = await fetch(location.pathname, { signal, cache: "no-store" }).catch(() => null);
  signal.throwIfAborted();
  if (!reply?.ok) return;
  const fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
  const found = readPage(fresh);
  if (found?.digest !== digest) return;
  page = found;
  document.querySelector(".card").replaceWith(fresh.querySelector(".card"));
}

function token() {
  return form.elements.csrfmiddlewaretoken?.value; // there for who is signed in; everybody else needs none
}

// --- the ways in ---
for (const input of form.querySelectorAll("input[type='file']")) {
  input.addEventListener("change", () => askFirst(input.files));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const example = event.submitter?.dataset.example;
  if (!example) return;
  const reply = await fetch(example).catch(() => null);
  if (reply?.ok) ask(await reply.blob());
  else fail(new Problem("This example could not be fetched. Try another one."));
});

addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) {
    event.preventDefault();
    askFirst(event.clipboardData.files);
  }
});

onDrop((files) => askFirst(files.map(({ file }) => file)));

part("cancel").addEventListener("click", () => {
  current?.abort();
  enter("empty");
  document.getElementById("photo").focus();
});
