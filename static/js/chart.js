// A line chart as SVG: curves over each other, the best point marked, values by mouse, touch or arrow keys.
const NS = "http://www.w3.org/2000/svg";
const WIDTH = 480, HEIGHT = 220, LEFT = 52, RIGHT = 10, TOP = 10, BOTTOM = 26;

function element(name, attributes, parent) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (parent) parent.append(made);
  return made;
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

function ticks(low, high, logarithmic) {
  if (logarithmic) {
    const from = Math.ceil(low), to = Math.floor(high);
    const whole = Array.from({ length: Math.max(to - from + 1, 0) }, (_, number) => from + number);
    return whole.length > 1 ? whole : [low, high];
  }
  return Array.from({ length: 5 }, (_, number) => low + ((high - low) * number) / 4);
}

export class Chart {
  constructor(place, title, unit = "") {
    this.title = title;
    this.unit = unit;
    this.figure = document.createElement("figure");
    this.figure.className = "chart";
    const caption = document.createElement("figcaption");
    caption.textContent = title;
    this.svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: "0", "aria-label": title });
    this.told = document.createElement("output");
    this.figure.append(caption, this.svg, this.told);
    place.append(this.figure);
    this.at = null;
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.choose(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.svg.addEventListener("blur", () => this.choose(null));
  }

  // series: [{ name, points: [[x, y], ...], kind: "s0", best: x or null }]
  draw(series, { smoothing = 0, logarithmic = false } = {}) {
    this.series = series
      .map((one) => ({ ...one, points: one.points.filter(([, y]) => Number.isFinite(y) && (!logarithmic || y > 0)) }))
      .filter((one) => one.points.length);
    this.svg.replaceChildren();
    this.figure.hidden = !this.series.length;
    if (!this.series.length) return;
    const level = logarithmic ? Math.log10 : (value) => value;
    const every = this.series.flatMap((one) => one.points);
    const xs = every.map(([x]) => x), ys = every.map(([, y]) => level(y));
    const x0 = Math.min(...xs), x1 = Math.max(...xs);
    let y0 = Math.min(...ys), y1 = Math.max(...ys);
    if (y0 === y1) [y0, y1] = [y0 - (Math.abs(y0) || 1) / 10, y1 + (Math.abs(y1) || 1) / 10];
    this.x = (x) => LEFT + ((x - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT);
    this.y = (y) => HEIGHT - BOTTOM - ((level(y) - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
    for (const tick of ticks(y0, y1, logarithmic)) {
      const value = logarithmic ? 10 ** tick : tick;
      element("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: this.y(value), y2: this.y(value) }, this.svg);
      element("text", { class: "tick", x: LEFT - 6, y: this.y(value) + 4, "text-anchor": "end" }, this.svg).textContent = short(value);
    }
    for (const x of new Set([x0, Math.round((x0 + x1) / 2), x1])) {
      element("text", { class: "tick", x: this.x(x), y: HEIGHT - 8, "text-anchor": "middle" }, this.svg).textContent = short(x);
    }
    for (const one of this.series) {
      const points = smooth(one.points, smoothing);
      element("polyline", { class: `curve ${one.kind}`, points: points.map(([x, y]) => `${this.x(x)},${this.y(y)}`).join(" ") }, this.svg);
      if (points.length === 1) this.dot(one, points[0], "single");
      const best = points.find(([x]) => x === one.best);
      if (best) this.dot(one, best, "best");
    }
    this.line = element("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM }, this.svg);
    this.choose(this.at);
  }

  dot(one, [x, y], kind) {
    element("circle", { class: `dot ${one.kind} ${kind}`, cx: this.x(x), cy: this.y(y), r: 4 }, this.svg);
  }

  get places() {
    return [...new Set(this.series.flatMap((one) => one.points.map(([x]) => x)))].sort((a, b) => a - b);
  }

  point(event) {
    if (!this.series?.length) return;
    const box = this.svg.getBoundingClientRect();
    const wanted = ((event.clientX - box.left) / box.width) * WIDTH;
    const nearest = this.places.reduce((a, b) => (Math.abs(this.x(b) - wanted) < Math.abs(this.x(a) - wanted) ? b : a));
    this.choose(nearest);
  }

  key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !this.series?.length) return;
    event.preventDefault();
    const places = this.places, now = places.indexOf(this.at);
    this.choose(places[now < 0 ? (step > 0 ? 0 : places.length - 1) : Math.min(Math.max(now + step, 0), places.length - 1)]);
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
