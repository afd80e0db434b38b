// An answer of the API, drawn into a copy of the page's own blank (templates/result.html).
import { copy } from "./copy.js";

const GROWTH = 700; // milliseconds

/**
 * Replaces what `slot` shows. `names` is [{label, name}] in label order, or null where they are not known: then only the
 * best are listed. `notes` go beside the server's.
 */
export function show(slot, { body, names, photo, notes }) {
  const blank = document.getElementById("result-template").content.cloneNode(true);
  const part = (name) => blank.querySelector(`[data-part="${name}"]`);
  const named = new Map((names ?? []).map(({ label, name }) => [label, name]));

  blank.querySelector(".result").classList.toggle("unsure", !body.sure);
  part("photo").src = photo;
  part("message").textContent = body.message;
  part("note").textContent = [...notes, body.warning].filter(Boolean).join(" ");
  part("note").hidden = !part("note").textContent;
  const { name, number } = body.version;
  part("took").textContent = `${name}, version ${number}, in ${Math.round(body.elapsed_ms)} ms on ${body.device}`;

  const bars = fill(part("top"), body.top, (row, { label, probability }) => {
    row.querySelector(".name").textContent = named.get(label) ?? label;
    row.querySelector(".number").textContent = percent(probability);
    const meter = row.querySelector("meter");
    meter.setAttribute("aria-label", named.get(label) ?? label);
    meter.value = probability;
    return { row, probability };
  });

  blank.querySelector(".all").hidden = !names;
  const all = (names ?? []).map(({ name }, index) => ({ name, probability: body.results[0][index] }));
  all.sort((one, other) => other.probability - one.probability);
  const rows = fill(part("all"), all, (row, { name, probability }) => {
    row.querySelector(".name").textContent = name;
    row.querySelector(".number").textContent = percent(probability, 1);
    return { row, key: plain(name) };
  });
  part("count").textContent = all.length;
  filter(part("filter"), rows, part("nothing"));
  part("copy").addEventListener("click", ({ currentTarget }) => copy(currentTarget, JSON.stringify(body, null, 2)));

  const message = part("message");
  slot.replaceChildren(blank);
  grow(bars);
  message.focus({ preventScroll: true });
}

/** A probability for people: 0.973 -> "97 %", but never "100 %" or "0 %". */
export function percent(probability, digits = 0) {
  const step = 10 ** -digits;
  const share = 100 * probability;
  if (share > 100 - step / 2) return `>\u2009${(100 - step).toFixed(digits)}\u00a0%`;
  if (share < step / 2) return `<\u2009${step.toFixed(digits)}\u00a0%`;
  return `${share.toFixed(digits)}\u00a0%`;
}

function fill(list, items, draw) {
  const blank = list.firstElementChild;
  const rows = items.map((item) => {
    const row = blank.cloneNode(true);
    return { row, drawn: draw(row, item) };
  });
  list.replaceChildren(...rows.map(({ row }) => row));
  return rows.map(({ drawn }) => drawn);
}

function filter(field, rows, nothing) {
  field.addEventListener("input", () => {
    const wanted = plain(field.value.trim());
    let shown = 0;
    for (const { row, key } of rows) {
      row.hidden = !key.includes(wanted);
      shown += row.hidden ? 0 : 1;
    }
    nothing.textContent = shown ? "" : "None of them is called that.";
  });
}

function plain(text) {
  return text.normalize("NFD").replace(/\p{Diacritic}/gu, "").toLowerCase();
}

function grow(bars) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const start = performance.now();
  const draw = (now) => {
    const time = Math.min(1, Math.max(0, (now - start) / GROWTH));
    const share = 1 - (1 - time) ** 3;
    for (const { row, probability } of bars) {
      row.querySelector("meter").value = probability * share;
      row.querySelector(".number").textContent = percent(time < 1 ? probability * share : probability);
    }
    if (time < 1) requestAnimationFrame(draw);
  };
  draw(start);
}
