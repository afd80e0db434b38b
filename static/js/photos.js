// The grid by keyboard: go from photo to photo, relabel, leave out, undo. Changes wait in this browser until they are
// saved as the next version, across pages of the grid and across visits.
const grid = document.getElementById("photos");
const bar = document.getElementById("changes");
const words = document.getElementById("changes-words");
const dialog = document.getElementById("relabel");
const entry = document.getElementById("relabel-to");
const key = grid ? `dataset-${grid.dataset.dataset}` : "";
const items = grid ? [...grid.children] : [];
let steps = JSON.parse(localStorage.getItem(key) ?? "[]"); // [{photo, label}] or [{photo, excluded}], the last one last
let relabelled = null; // the photo that the dialog is about

/** What all steps together make of each photo. */
function changes() {
  const found = {};
  for (const { photo, ...change } of steps) found[photo] = { ...found[photo], ...change };
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

function exclude(item) {
  const before = changes()[item.dataset.photo]?.excluded ?? item.dataset.excluded === "true";
  steps.push({ photo: item.dataset.photo, excluded: !before });
  keep();
}

function relabel(item) {
  relabelled = item;
  entry.value = "";
  dialog.returnValue = "";
  dialog.showModal();
}

function undo() {
  const last = steps.pop();
  keep();
  items.find((item) => item.dataset.photo === last?.photo)?.focus();
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
    x: () => exclude(item),
    l: () => relabel(item),
    u: undo,
  };
  if (acts[event.key]) {
    event.preventDefault();
    acts[event.key]();
  }
}

async function save() {
  try {
    const answer = await fetch(grid.dataset.edit, {
      method: "POST",
      headers: {
        Accept: "application/json",
        "Content-Type": "application/json",
        "X-CSRFToken": document.querySelector("input[name=csrfmiddlewaretoken]").value,
      },
      body: JSON.stringify({ changes: changes() }),
    });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.detail);
    localStorage.removeItem(key);
    location.assign(said.address);
  } catch (error) {
    words.textContent = `It was not saved: ${error.message}`;
  }
}

if (grid) {
  grid.addEventListener("keydown", pressed);
  grid.addEventListener("focusin", (event) => {
    for (const item of items) item.tabIndex = item === event.target ? 0 : -1;
  });
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "relabel" && entry.value.trim()) {
      steps.push({ photo: relabelled.dataset.photo, label: entry.value.trim() });
      keep();
    }
    relabelled.focus();
  });
  document.getElementById("changes-undo").addEventListener("click", undo);
  document.getElementById("changes-save").addEventListener("click", save);
  document.getElementById("changes-discard").addEventListener("click", () => {
    steps = [];
    keep();
  });
  show();
}
