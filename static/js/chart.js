// A line chart as SVG: curves over each other, the best point marked, values by mouse, touch or arrow keys, zoom (zoom.js).
import { Zoom } from "./zoom.js";

const NS = "http://www.w3.org/2000/svg";
const LEFT = 52, RIGHT = 12, TOP = 10, BOTTOM = 26;
let made = 0;

function element(name, attributes, parent) {
  const one = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  if (parent) parent.append(one);
  return one;
}

export function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 100000)) return value.toExponential(1);
  return String(Number(value.toPrecision(4)));
}

// Exponential moving average; share 0 leaves the points as they are.
export function smooth(points, share) {
  let average = null;
  return points.map(([x, y]) => {
    average = average === null ? y : share * average + (1 - share) * y;
    return [x, average];
  });
}

// Round values between two, a handful of them, and so far apart at least, if there are any.
function round(low, high, wanted, least = 0) {
  const rough = Math.max((high - low) / wanted, high - low > least ? least : 0), power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const count = Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) + 1;
  return Array.from({ length: count }, (_, number) => (Math.ceil(low / step - 1e-9) + number) * step);
}

const LINEAR = { to: (value) => value, from: (level) => level, fits: () => true, ticks: round };
const LOGARITHMIC = {
  to: Math.log10,
  from: (level) => 10 ** level,
  fits: (value) => value > 0,
  ticks(low, high, wanted) {
    const decades = round(low, high, wanted).filter((level) => Number.isInteger(level));
    if (decades.length > 1) return decades;
    return round(10 ** low, 10 ** high, wanted).filter((value) => value > 0).map(Math.log10);
  },
};

function bounds(levels) {
  const low = Math.min(...levels), high = Math.max(...levels);
  return low === high ? [low - (Math.abs(low) || 1) / 10, high + (Math.abs(high) || 1) / 10] : [low, high];
}

export class Chart {
  // `unit` stands behind every value; `logarithmic` is about the horizontal axis, whose ticks are `least` apart.
  constructor(place, title, { unit = "", height = 220, logarithmic = false, least = 0 } = {}) {
    Object.assign(this, { unit, height, least, horizontal: logarithmic ? LOGARITHMIC : LINEAR, at: null, series: [] });
    this.figure = document.createElement("figure");
    this.figure.className = "chart";
    this.figure.hidden = true;
    const caption = document.createElement("figcaption");
    caption.textContent = title;
    const hint = "Arrow keys read the values, + and − zoom, 0 shows everything.";
    this.svg = element("svg", { role: "img", tabindex: "0", "aria-label": `${title}. ${hint}` });
    this.told = document.createElement("output");
    this.figure.append(caption, this.svg, this.told);
    place.append(this.figure);
    this.zoom = new Zoom(this, caption);
    this.clip = `plot-${made++}`;
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerdown", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.choose(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.svg.addEventListener("blur", () => this.choose(null));
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  // series: [{ name, points: [[x, y], ...], kind: "s0", best: x or null, marks: [x, ...] }]; without, as before
  draw(series = this.said, { smoothing = 0, logarithmic = false } = this.options ?? {}) {
    this.said = series;
    this.options = { smoothing, logarithmic };
    const vertical = logarithmic ? LOGARITHMIC : LINEAR;
    this.series = (series ?? [])
      .map((one) => ({ ...one, points: one.points.filter(([x, y]) => Number.isFinite(y) && vertical.fits(y) && this.horizontal.fits(x)) }))
      .filter((one) => one.points.length);
    this.figure.hidden = !this.series.length;
    this.svg.replaceChildren();
    if (!this.series.length) return;
    this.width = Math.max(this.svg.clientWidth, 240);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.whole = bounds(this.series.flatMap((one) => one.points.map(([x]) => this.horizontal.to(x))));
    const curves = this.series.map((one) => ({ ...one, points: smooth(one.points, smoothing) }));
    this.scale(curves, vertical);
    this.axes(vertical);
    element("rect", { x: LEFT - 6, y: 0, width: this.width - LEFT - RIGHT + 12, height: this.height - BOTTOM + 4 },
      element("clipPath", { id: this.clip }, this.svg));
    const plot = element("g", { "clip-path": `url(#${this.clip})` }, this.svg);
    for (const one of curves) this.curve(one, plot);
    this.line = element("line", { class: "cursor", y1: TOP, y2: this.height - BOTTOM }, plot);
    this.zoom.show(plot, TOP, this.height - BOTTOM);
    this.choose(this.at);
  }

  // What is between the edges decides how high the curves stand.
  scale(curves, vertical) {
    const [x0, x1] = this.view;
    const within = curves.flatMap((one) => one.points.filter(([x]) => this.horizontal.to(x) >= x0 && this.horizontal.to(x) <= x1));
    const [y0, y1] = this.vertical = bounds((within.length ? within : curves.flatMap((one) => one.points)).map(([, y]) => vertical.to(y)));
    this.x = (x) => LEFT + ((this.horizontal.to(x) - x0) / (x1 - x0)) * (this.width - LEFT - RIGHT);
    this.y = (y) => this.height - BOTTOM - ((vertical.to(y) - y0) / (y1 - y0)) * (this.height - TOP - BOTTOM);
  }

  axes(vertical) {
    for (const level of vertical.ticks(...this.vertical, this.height > 150 ? 5 : 3)) {
      const value = vertical.from(level), y = this.y(value);
      element("line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }, this.svg);
      element("text", { class: "tick", x: LEFT - 6, y: y + 4, "text-anchor": "end" }, this.svg).textContent = short(value);
    }
    for (const level of this.horizontal.ticks(...this.view, Math.min(6, this.width / 70), this.least)) {
      const value = this.horizontal.from(level);
      element("text", { class: "tick", x: this.x(value), y: this.height - 8, "text-anchor": "middle" }, this.svg).textContent = short(value);
    }
  }

  curve(one, plot) {
    element("polyline", { class: `curve ${one.kind}`, points: one.points.map(([x, y]) => `${this.x(x)},${this.y(y)}`).join(" ") }, plot);
    if (one.points.length === 1) this.dot(one, one.points[0], "single", plot);
    for (const x of one.marks ?? []) element("line", { class: `mark ${one.kind}`, x1: this.x(x), x2: this.x(x), y1: TOP, y2: this.height - BOTTOM }, plot);
    const best = one.points.find(([x]) => x === one.best);
    if (best) this.dot(one, best, "best", plot);
  }

  dot(one, [x, y], kind, plot) {
    element("circle", { class: `dot ${one.kind} ${kind}`, cx: this.x(x), cy: this.y(y), r: 4 }, plot);
  }

  // The edges of what is seen, as the horizontal axis measures: kept while new points come.
  get view() {
    return this.zoom.range ?? this.whole;
  }

  // Where the curves begin and end on the screen.
  get edges() {
    const box = this.svg.getBoundingClientRect(), scale = box.width / this.width;
    return [box.left + LEFT * scale, box.right - RIGHT * scale];
  }

  // The place on the axis under a pointer.
  level(clientX) {
    const [left, right] = this.edges, [x0, x1] = this.view;
    return x0 + Math.min(Math.max((clientX - left) / (right - left), 0), 1) * (x1 - x0);
  }

  get places() {
    return [...new Set(this.series.flatMap((one) => one.points.map(([x]) => x)))].sort((a, b) => a - b);
  }

  point(event) {
    if (!this.series.length || this.zoom.busy) return;
    const wanted = this.level(event.clientX), away = (x) => Math.abs(this.horizontal.to(x) - wanted);
    this.choose(this.places.reduce((a, b) => (away(b) < away(a) ? b : a)));
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !this.series.length) return;
    event.preventDefault();
    const [x0, x1] = this.view, places = this.places, now = places.indexOf(this.at);
    const seen = places.filter((x) => this.horizontal.to(x) >= x0 && this.horizontal.to(x) <= x1);
    const next = now < 0 ? seen.at(step > 0 ? 0 : -1) : places[Math.min(Math.max(now + step, 0), places.length - 1)];
    this.choose(next ?? places[0]);
    this.zoom.follow(this.horizontal.to(this.at));
  }

  choose(x) {
    this.at = x;
    if (!this.line) return;
    const chosen = x !== null && this.places.includes(x);
    this.line.setAttribute("class", chosen ? "cursor shown" : "cursor");
    const names = this.series.map((one) => {
      const at = chosen ? one.points.find(([place]) => place === x) : one.points.at(-1);
      const best = one.best === undefined || one.best === null ? null : one.points.find(([place]) => place === one.best);
      const beside = !chosen && best ? `, best ${short(best[1])}` : "";
      return { kind: one.kind, text: `${one.name} ${at ? short(at[1]) : "–"}${this.unit}${beside}` };
    });
    if (chosen) for (const end of ["x1", "x2"]) this.line.setAttribute(end, this.x(x));
    this.told.replaceChildren(chosen ? `at ${short(x)}: ` : "");
    for (const { kind, text } of names) {
      const word = document.createElement("span");
      word.className = `key ${kind}`;
      word.textContent = text;
      this.told.append(word, " ");
    }
  }
}

// The tools above the charts; `change` is called with what they say now.
export function tools(change) {
  const smoothing = document.getElementById("smoothing"), logarithmic = document.getElementById("log-scale");
  const say = () => change({ smoothing: Number(smoothing.value), logarithmic: logarithmic.checked });
  smoothing.addEventListener("input", say);
  logarithmic.addEventListener("change", say);
  return { smoothing: Number(smoothing.value), logarithmic: logarithmic.checked };
}
