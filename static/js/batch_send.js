// Photos by the thousand, or a zip, on their way into a batch: in groups, or in pieces, with what became of each.
import { named, onDrop } from "./drop.js";
import { prepare } from "./photo.js";
import { ask, inPieces, megabytes, patiently } from "./pieces.js";
import { Problem } from "./problem.js";

const GROUP = 50; // files of one request
const LISTED = 200; // files that are shown by name before one of them is refused
const form = document.getElementById("send");
const limits = JSON.parse(document.getElementById("sending").textContent);
const box = document.getElementById("chosen");
const go = document.getElementById("go");
const problem = document.getElementById("problem");
const part = (name) => box.querySelector(`[data-part="${name}"]`);

let queue = []; // {file, name, item}: what is still to be sent, in order
let batch = limits.batch ?? null; // its number, once there is one
let group = null; // the one under way: {files, key}; its key makes a second try the same
let opening = null; // the key of the request that opens the batch
let sending = false;
let [total, sent, bytes, bytesSent, refused] = [0, 0, 0, 0, 0];

const isZip = (file) => /\.zip$/i.test(file.name) || file.type === "application/zip";
const photos = (count) => (count === 1 ? "1 file" : `${count.toLocaleString("en")} files`);

// --- choosing ---
function add(files) {
  if (sending || !files.length) return;
  const all = [...queue, ...files];
  if (all.some(({ file }) => isZip(file)) && all.length + sent > 1) {
    fail(new Problem("Send photos, or one zip alone: what is in it becomes a line each."));
    return;
  }
  if (all.length + sent > limits.most_files) {
    fail(new Problem(`At most ${photos(limits.most_files)} are taken one by one: put them into a zip.`));
    return;
  }
  problem.hidden = true;
  for (const one of files) {
    one.item = total < LISTED ? listed(one.name) : null;
    queue.push(one);
    total += 1;
    bytes += one.file.size;
  }
  show();
}

function listed(name) {
  const item = document.createElement("li");
  const title = document.createElement("span");
  title.className = "name";
  title.textContent = name;
  const state = document.createElement("span");
  state.className = "state";
  item.append(title, state);
  part("files").append(item);
  return item;
}

function mark(one, state, words) {
  one.item ??= state === "refused" ? listed(one.name) : null;
  if (!one.item) return;
  one.item.className = state;
  one.item.querySelector(".state").textContent = words;
}

function show() {
  box.hidden = total === 0;
  const more = total > LISTED ? `, the first ${LISTED} by name` : "";
  part("count").textContent = `${photos(total)}, ${megabytes(bytes)}${more}`;
  part("clear").hidden = sending || sent > 0;
  go.disabled = sending || (total === 0 && !form.elements.server && limits.batch != null);
  if (total && !sending) go.textContent = sent ? "Go on" : `Ask about ${queue.length === 1 && isZip(queue[0].file) ? "the zip" : photos(total)}`;
}

function clear() {
  queue = [];
  [total, sent, bytes, bytesSent, refused] = [0, 0, 0, 0, 0];
  part("files").replaceChildren();
  go.textContent = "Ask about them";
  form.reset();
  show();
  document.getElementById("photos").focus();
}

// --- sending ---
const headers = (more) => ({
  Accept: "application/json",
  "X-CSRFToken": form.elements.csrfmiddlewaretoken.value,
  ...more,
});

function fresh() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function say(words) {
  if (part("status").textContent !== words) part("status").textContent = words;
}

const pausing = () => say("The connection broke; trying again …");

async function open(more) {
  opening ??= fresh();
  const data = new FormData(form);
  const wanted = { versions: data.getAll("versions"), combine: data.get("combine") ?? "mean", name: data.get("name") ?? "", ...more };
  const options = {
    method: "POST",
    headers: headers({ "Content-Type": "application/json", "Idempotency-Key": opening }),
    body: JSON.stringify(wanted),
  };
  try {
    return await patiently(() => ask(limits.url, options), pausing);
  } catch (error) {
    opening = null; // refused: another try may say something else
    throw error;
  }
}

async function sendZip(file) {
  if (file.size > limits.zip_bytes) {
    throw new Problem(`This zip has ${megabytes(file.size)}; at most ${megabytes(limits.zip_bytes)} are taken: divide it.`);
  }
  const put = headers({ "Content-Type": "application/octet-stream" });
  const name = encodeURIComponent(file.name);
  await inPieces(file, {
    pieceBytes: () => limits.piece_bytes,
    async send(body, offset) {
      const address = `${limits.url}/${batch}/archive?offset=${offset}&total=${file.size}&name=${name}`;
      return (await ask(address, { method: "PUT", headers: put, body })).received;
    },
    onSent(there, seconds) {
      part("progress").value = there / file.size;
      say(`${megabytes(there)} of ${megabytes(file.size)} sent, ${seconds} seconds left`);
    },
    onPause: pausing,
  });
}

/** The next files that fit into one request, those that are too large made smaller or cut, so that each has its line. */
async function nextGroup() {
  const found = { files: [], key: fresh(), bytes: 0 };
  const room = 0.9 * limits.request_bytes;
  while (queue.length && found.files.length < GROUP) {
    const one = queue[0];
    one.photo ??= await ready(one);
    if (found.files.length && found.bytes + one.photo.size > room) break;
    found.files.push(one);
    found.bytes += one.photo.size + 500; // and its header
    queue.shift();
  }
  return found;
}

async function ready({ file, name }) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Problem(`${name} cannot be read any more. Choose the files again.`);
  }
  if (file.size <= limits.max_bytes) return file;
  try {
    return (await prepare(file, limits.max_bytes)).photo;
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    return file.slice(0, limits.max_bytes + 1); // enough for the server to say that it is too large
  }
}

async function sendFiles() {
  while (queue.length || group) {
    group ??= await nextGroup();
    const body = new FormData();
    for (const one of group.files) {
      body.append("files", one.photo, one.name);
      mark(one, "going", "sending");
    }
    const options = { method: "POST", headers: headers({ "Idempotency-Key": group.key }), body };
    const said = await patiently(() => ask(`${limits.url}/${batch}/files`, options), pausing);
    const first = said.photos - group.files.length + 1;
    const reasons = new Map(said.refused.map((row) => [row.position - first, row.detail]));
    group.files.forEach((one, place) => {
      const reason = reasons.get(place);
      mark(one, reason ? "refused" : "sent", reason ?? "sent");
      sent += 1;
      bytesSent += one.file.size;
      refused += reason ? 1 : 0;
    });
    group = null;
    part("progress").value = bytesSent / (bytes || 1);
    const bad = refused ? `; ${refused} cannot be used, each has its reason below` : "";
    say(`${sent.toLocaleString("en")} of ${photos(total)} sent${bad}`);
  }
}

async function send() {
  const server = form.elements.server?.value;
  if (server && !total) {
    location.assign((await open({ server })).page);
    return;
  }
  if (!total) throw new Problem("Choose photos or a zip first.");
  part("progress").hidden = false;
  batch ??= (await open({ open: true })).id;
  const zip = queue.length === 1 && !sent && isZip(queue[0].file) ? queue[0].file : null;
  await (zip ? sendZip(zip) : sendFiles());
  const options = { method: "POST", headers: headers({ "Content-Type": "application/json" }), body: "{}" };
  location.assign((await patiently(() => ask(`${limits.url}/${batch}/start`, options), pausing)).page);
}

function fail(error) {
  const known = error instanceof Problem;
  problem.textContent = known ? error.message : "Something went wrong on this page. Reload it and try again.";
  problem.hidden = false;
  problem.focus({ preventScroll: true });
  problem.scrollIntoView({ block: "nearest" });
  if (!known) throw error;
}

const warn = (event) => event.preventDefault();

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (sending) return;
  sending = true;
  problem.hidden = true;
  show();
  addEventListener("beforeunload", warn);
  try {
    await send();
    removeEventListener("beforeunload", warn);
  } catch (error) {
    sending = false;
    removeEventListener("beforeunload", warn);
    show();
    fail(error);
  }
});

for (const id of ["photos", "folder"]) {
  const input = document.getElementById(id);
  input.addEventListener("change", () => {
    add(named(input.files));
    input.value = "";
  });
}
part("clear").addEventListener("click", clear);
onDrop(add);

// --- which versions answer ---
const boxes = [...form.querySelectorAll("input[name='versions']")];
function versions() {
  const chosen = boxes.filter((one) => one.checked);
  const family = chosen[0]?.dataset.family;
  for (const one of boxes) one.disabled = family !== undefined && one.dataset.family !== family;
  form.querySelector(".combine").hidden = chosen.length < 2;
  document.getElementById("answered-by").textContent = chosen.map((one) => one.value).join(" and ") || "the active version";
}
if (boxes.length) {
  for (const one of boxes) one.addEventListener("change", versions);
  versions();
}
show();
