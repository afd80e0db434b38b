// The curves of several runs over each other.
import { Chart, tools } from "./chart.js";

const place = document.getElementById("charts");
const charts = {
  validation_loss: new Chart(place, "Validation loss by epoch", { least: 1 }),
  validation_top1: new Chart(place, "Validation accuracy by epoch", { least: 1 }),
  loss: new Chart(place, "Training loss by epoch", { least: 1 }),
  images_per_second: new Chart(place, "Images per second by epoch", { least: 1 }),
};
let runs = [];
let options = tools((said) => { options = said; draw(); });

function draw() {
  for (const [figure, chart] of Object.entries(charts)) {
    chart.draw(runs.map(({ name, kind, state }) => ({
      name, kind, best: figure.startsWith("validation") ? state.best : null,
      points: state.epochs.map((epoch) => [epoch.number, epoch[figure] ?? NaN]),
    })), options);
  }
}

async function look() {
  const heads = [...document.querySelectorAll(".compared")];
  runs = await Promise.all(heads.map(async (head, number) => {
    const answer = await fetch(head.dataset.state, { headers: { Accept: "application/json" } });
    return { name: head.dataset.name, kind: `s${number}`, state: await answer.json() };
  }));
  draw();
  if (runs.some(({ state }) => state.active)) setTimeout(look, 5000);
}

look();
