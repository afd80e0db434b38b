// The page of a range test: the loss over a learning rate that grows, until the sweep has ended.
import { Chart, short } from "./chart.js";
import { follow } from "./follow.js";

const page = document.querySelector("[data-state]");
const by = (id) => document.getElementById(id);
const chart = new Chart(by("charts"), "Loss by learning rate", { height: 320, logarithmic: true });
const scale = by("log-scale");
let found = {};

function draw() {
  const points = found.points ?? [];
  const curve = (name, kind, column, marks) => ({ name, kind, marks, points: points.map((point) => [point[0], point[column] ?? NaN]) });
  const seen = (rate) => (rate ? [rate] : []);
  chart.draw([
    curve("loss", found.sentence ? "s7 thin" : "s7", 1, seen(found.steepest)),
    curve("smoothed", "s0", 2, seen(found.suggestion)),
  ], { logarithmic: scale.checked });
}

function show(state) {
  by("status").textContent = state.status_text;
  const step = state.found.points?.length;
  by("words").textContent = state.waiting || (state.live.phase ? `${state.live.phase} ${state.live.done} of ${state.live.total}` : state.active && step ? `step ${step} of ${state.total}` : "");
  by("failure").textContent = state.failure;
  by("failure").hidden = !state.failure;
  by("bar").max = state.total || 1;
  by("bar").value = state.done;
  by("log").textContent = state.log.join("\n");
  by("sentence").hidden = !state.found.sentence;
  by("suggestion").textContent = Object.entries(state.found.changes ?? {}).map(([name, rate]) => `${name} ${short(rate)}`).join(", ");
  by("why").textContent = state.found.sentence ?? "";
  for (const form of document.querySelectorAll("[data-verb]")) form.hidden = !state.verbs.includes(form.dataset.verb);
  found = state.found;
  draw();
}

scale.addEventListener("change", draw);
follow(() => page.dataset.state, {
  show,
  away: () => { by("words").textContent = "The site does not answer just now; the sweep goes on meanwhile."; },
  every: 1000,
});
