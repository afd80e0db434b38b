// The grid by keyboard, mouse and touch: go from photo to photo or select several, relabel, leave out, undo. Changes wait
// in this browser until they are saved as the next version, across pages of the grid and across visits.
const grid = document.getElementById("photos");
const bar = document.getElementById("changes");
const words = document.getElementById("changes-words");
const dialog = document.getElementById("relabel");
const entry = document.getElementById("relabel-to");
const key = grid ? `dataset-${grid.dataset.dataset}` : "";
const items = grid ? [...grid.children] : [];
const selection = document.getElementById("selection");
// [{photo, label, act}] or [{photo, excluded, act}], the last one last; those of one act are undone together
let steps = JSON.parse(localStorage.getItem(key) ?? "[]");
let relabelled = []; // the photos that the dialog is about

/** What all steps together make of each photo. */
function changes() {
  const found = {};
  for (const { photo, act, ...change } of steps) found[photo] = { ...found[photo], ...change };
  return found;
}

function show() {
  const wanted = changes();
  for (const item of items) {
    const change = wanted[item.dataset.photo] ?? {};
    const out = change.excluded ?? item.dataset.excluded === "true";
    item.querySelector(".label").textContent = change.label ?? item.dataset.label;
    item.querySelector(".left-out").hidden = !out;
    item.classList.toggle("out", out);
    item.classList.toggle("changed", item.dataset.photo in wanted);
  }
  const count = Object.keys(wanted).length;
  bar.hidden = count === 0;
  words.textContent = count === 1 ? "1 photo is changed." : `${count} photos are changed.`;
}

function keep() {
  if (steps.length) localStorage.setItem(key, JSON.stringify(steps));
  else localStorage.removeItem(key);
  show();
}

/** One act on several photos; `change` says what becomes of each, null for nothing. */
function perform(several, change) {
  const act = (steps.at(-1)?.act ?? 0) + 1;
  for (const item of several) {
    const wanted = change(item);
    if (wanted) steps.push({ photo: item.dataset.photo, ...wanted, act });
  }
  keep();
}

function isOut(item) {
  return changes()[item.dataset.photo]?.excluded ?? item.dataset.excluded === "true";
}

function exclude(several) {
  const excluded = !several.every(isOut);
  perform(several, (item) => (isOut(item) === excluded ? null : { excluded }));
}

function relabel(several) {
  relabelled = several;
  entry.value = several.length === 1 ? (several[0].dataset.answer ?? "") : "";
  dialog.returnValue = "";
  dialog.showModal();
  entry.select();
}

/** The label that the network answered becomes the photo's. */
function accept(several) {
  perform(several, (item) => (item.dataset.answer ? { label: item.dataset.answer } : null));
}

function undo() {
  const last = steps.at(-1);
  while (steps.length && steps.at(-1).act === last.act) {
    steps.pop();
    if (!last.act) break;
  }
  keep();
  items.find((item) => item.dataset.photo === last?.photo)?.focus();
}

function selected() {
  return items.filter((item) => item.querySelector(".pick").checked);
}

function select(item, on) {
  item.querySelector(".pick").checked = on;
  showSelection();
}

function showSelection() {
  const several = selected();
  for (const item of items) item.classList.toggle("selected", several.includes(item));
  selection.hidden = several.length === 0;
  document.getElementById("selection-words").textContent = `${several.length} selected`;
  const out = document.getElementById("selection-out");
  out.textContent = several.length && several.every(isOut) ? "Take in again" : "Leave out";
}

/** The selected photos, or the one that a key was pressed on. */
function meant(item) {
  const several = selected();
  return several.length ? several : [item];
}

/** Examples wait for nothing: they are no part of what is trained. */
async function tick(item) {
  const star = item.querySelector(".star");
  const shown = star.getAttribute("aria-pressed") !== "true";
  const said = document.getElementById("examples-words");
  try {
    const { examples } = await post(grid.dataset.examples, { photo: Number(item.dataset.photo), shown });
    star.setAttribute("aria-pressed", String(shown));
    said.textContent = `${examples} of at most ${grid.dataset.most} are chosen.`;
  } catch (error) {
    said.textContent = `It was not changed: ${error.message}`;
  }
}

function go(from, by) {
  const to = items[items.indexOf(from) + by];
  if (!to) return;
  from.tabIndex = -1;
  to.tabIndex = 0;
  to.focus();
}

function columns() {
  const top = items[0].offsetTop;
  const next = items.findIndex((item) => item.offsetTop > top);
  return next < 0 ? items.length : next;
}

function pressed(event) {
  const item = event.target.closest("li[data-photo]");
  if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
  const acts = {
    ArrowRight: () => go(item, 1),
    ArrowLeft: () => go(item, -1),
    ArrowDown: () => go(item, columns()),
    ArrowUp: () => go(item, -columns()),
    x: () => exclude(meant(item)),
    l: () => relabel(meant(item)),
    a: () => accept(meant(item)),
    e: () => tick(item),
    " ": () => select(item, !item.querySelector(".pick").checked),
    Escape: clear,
    u: undo,
  };
  if (acts[event.key]) {
    event.preventDefault();
    acts[event.key]();
  }
}

function clear() {
  for (const item of items) item.querySelector(".pick").checked = false;
  showSelection();
}

async function post(address, what) {
  const answer = await fetch(address, {
    method: "POST",
    headers: {
      Accept: "application/json",
      "Content-Type": "application/json",
      "X-CSRFToken": document.querySelector("input[name=csrfmiddlewaretoken]").value,
    },
    body: JSON.stringify(what),
  });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail);
  return said;
}

async function save() {
  try {
    const { address } = await post(grid.dataset.edit, { changes: changes() });
    localStorage.removeItem(key);
    location.assign(address);
  } catch (error) {
    words.textContent = `It was not saved: ${error.message}`;
  }
}

if (grid) {
  grid.addEventListener("keydown", pressed);
  grid.addEventListener("click", (event) => {
    const star = event.target.closest(".star");
    const item = event.target.closest("li");
    if (star) tick(item);
    else if (event.target.closest("img")) select(item, !item.querySelector(".pick").checked);
    else showSelection();
  });
  grid.addEventListener("focusin", (event) => {
    for (const item of items) item.tabIndex = item.contains(event.target) ? 0 : -1;
  });
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "relabel" && entry.value.trim()) {
      const label = entry.value.trim();
      perform(relabelled, () => ({ label }));
    }
    relabelled[0].focus();
  });
  document.getElementById("selection-out").addEventListener("click", () => { exclude(selected()); showSelection(); });
  document.getElementById("selection-relabel").addEventListener("click", () => relabel(selected()));
  document.getElementById("selection-answer")?.addEventListener("click", () => accept(selected()));
  document.getElementById("selection-clear").addEventListener("click", clear);
  document.getElementById("changes-undo").addEventListener("click", undo);
  document.getElementById("changes-save").addEventListener("click", save);
  document.getElementById("changes-discard").addEventListener("click", () => {
    steps = [];
    keep();
  });
  show();
  showSelection(); // a browser that comes back to the page keeps what was ticked
}
