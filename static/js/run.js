// The page of a run: asks for what is new every two seconds and shows it, until the run has ended.
import { Chart, short, tools } from "./chart.js";
import { follow } from "./follow.js";

const page = document.querySelector("[data-state]");
const by = (id) => document.getElementById(id);
const place = by("charts");
const charts = {
  loss: new Chart(place, "Loss by epoch", { least: 1 }),
  accuracy: new Chart(place, "Accuracy by epoch", { least: 1 }),
  steps: new Chart(place, "Training loss by step"),
  rate: new Chart(place, "Learning rate by step"),
  speed: new Chart(place, "Images per second by epoch", { least: 1 }),
};
const small = { height: 110 };
const use = {
  memory: new Chart(by("use"), "Memory by minute", { ...small, unit: " MB" }),
  processors: new Chart(by("use"), "Processors by minute", small),
  gpu_memory: new Chart(by("use"), "GPU memory by minute", { ...small, unit: " MB" }),
  gpu: new Chart(by("use"), "GPU by minute", { ...small, unit: " %" }),
};
const epochs = new Map(); // number -> figures
let options = tools((said) => { options = said; draw(); });
let best = null, live = {};

const curve = (name, figure, kind, marked) => ({
  name, kind, best: marked ? best : null,
  points: [...epochs.values()].map((epoch) => [epoch.number, epoch[figure] ?? NaN]),
});

// [step, rate, loss] of some steps of an epoch of so many -> [place among the epochs, one of them]
const along = (epoch, trail, steps, which) => trail.map((one) => [epoch - 1 + one[0] / steps, one[which]]);

function trail(which) {
  const done = [...epochs.values()].flatMap((epoch) => along(epoch.number, epoch.trail, epoch.trail.at(-1)?.[0] || 1, which));
  return live.trail && !epochs.has(live.epoch) ? [...done, ...along(live.epoch, live.trail, live.steps, which)] : done;
}

function draw() {
  charts.loss.draw([curve("train", "loss", "s0"), curve("validation", "validation_loss", "s1", true)], options);
  charts.accuracy.draw([curve("train", "accuracy", "s0"), curve("validation", "validation_top1", "s1", true)], options);
  charts.speed.draw([curve("images/s", "images_per_second", "s0")], { ...options, logarithmic: false });
  charts.steps.draw([{ name: "train", kind: "s0", points: trail(2) }], options);
  charts.rate.draw([{ name: "learning rate", kind: "s0", points: trail(1) }], { ...options, smoothing: 0 });
}

// Rows of seconds since the start, bytes of memory, processors, bytes of the GPU's memory and its share at work.
function drawUse(rows) {
  const columns = { memory: [1, 1e-6], processors: [2, 1], gpu_memory: [3, 1e-6], gpu: [4, 100] };
  for (const [name, [column, factor]] of Object.entries(columns)) {
    const points = rows.filter((row) => row[column] !== null).map((row) => [row[0] / 60, row[column] * factor]);
    use[name].draw([{ name: "now", kind: "s2", points }]);
  }
  by("use-module").hidden = rows.length < 2;
}

function time(seconds) {
  if (seconds > 5400) return `about ${(seconds / 3600).toFixed(1)} hours left`;
  return seconds > 90 ? `about ${Math.round(seconds / 60)} minutes left` : `about ${Math.ceil(seconds)} seconds left`;
}

function words({ waiting, live }) {
  if (waiting) return waiting;
  if (live.phase) {
    const parts = [`${live.phase} ${live.done.toLocaleString("en")} of ${live.total.toLocaleString("en")}`];
    return (live.remaining_seconds ? [...parts, time(live.remaining_seconds)] : parts).join(", ");
  }
  if (!live.epoch) return "";
  const parts = [`epoch ${live.epoch} of ${live.epochs}, step ${live.number} of ${live.steps}`, `${short(live.images_per_second)} images/s`];
  if (live.remaining_seconds) parts.push(time(live.remaining_seconds));
  if (live.memory_bytes) parts.push(`${Math.round(live.memory_bytes / 1e6)} MB of memory`);
  if (live.processors) parts.push(`${live.processors.toFixed(1)} processors`);
  if (live.gpu_memory_bytes) parts.push(`${Math.round(live.gpu_memory_bytes / 1e6)} MB of GPU memory`);
  if (live.gpu_share !== null && live.gpu_share !== undefined) parts.push(`GPU ${Math.round(100 * live.gpu_share)} %`);
  return parts.join(", ");
}

function row(epoch) {
  const line = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = epoch.number;
  line.append(head);
  const fixed = (value, digits) => (value === null ? "–" : value.toFixed(digits));
  const cells = [
    fixed(epoch.loss, 4), fixed(epoch.accuracy, 4), fixed(epoch.validation_loss, 4), fixed(epoch.validation_top1, 4),
    short(epoch.learning_rate), epoch.skipped_steps, fixed(epoch.seconds, 1), fixed(epoch.images_per_second, 0),
  ];
  for (const cell of cells) line.insertCell().textContent = cell;
  if (epoch.number === best) line.className = "best";
  return line;
}

function show(state) {
  by("status").textContent = state.status_text;
  by("words").textContent = words(state);
  by("failure").textContent = state.failure;
  by("failure").hidden = !state.failure;
  by("bar").max = state.total || 1;
  by("bar").value = state.done;
  by("log").textContent = state.log.join("\n");
  by("version").hidden = !state.version;
  if (state.version) {
    by("version-link").textContent = state.version.name;
    by("version-link").href = state.version.page;
    by("measured").textContent = state.version.measured ? `, ${state.version.measured} right on its test photos` : "";
  }
  for (const form of document.querySelectorAll("[data-verb]")) form.hidden = !state.verbs.includes(form.dataset.verb);
  for (const epoch of state.epochs) epochs.set(epoch.number, epoch);
  const moved = state.epochs.length || state.best !== best || state.live.trail?.length !== live.trail?.length;
  live = state.live;
  if (state.epochs.length || state.best !== best) {
    best = state.best;
    by("epochs").replaceChildren(...[...epochs.values()].map(row));
  }
  if (moved) draw();
  drawUse(state.use ?? []);
}

follow(() => `${page.dataset.state}?after=${Math.max(0, ...epochs.keys())}`, {
  show,
  away: () => { by("words").textContent = "The site does not answer just now; the training goes on meanwhile."; },
  every: 2000,
});
