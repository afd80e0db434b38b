// The part of a chart that is seen: chosen by drag, two fingers or + and -, moved by the arrow keys, given up by a double
// click, 0, Escape or the button. It stays while the curves move.
const NS = "http://www.w3.org/2000/svg";
const LEAST_PIXELS = 8; // of a drag; less is a click
const DEEPEST = 1e-4; // of the whole

export class Zoom {
  constructor(chart, caption) {
    this.chart = chart;
    this.range = null; // [low, high] as the horizontal axis measures; null shows everything
    this.drag = null; // [where it began, where it is]
    this.fingers = new Map(); // pointer -> place on the axis that it holds
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.className = "zoom-out";
    this.button.textContent = "Show everything";
    this.button.hidden = true;
    this.button.addEventListener("click", () => { this.set(null); chart.svg.focus(); });
    caption.append(this.button);
    const svg = chart.svg;
    svg.addEventListener("pointerdown", (event) => this.down(event));
    svg.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, (event) => this.up(event));
    svg.addEventListener("dblclick", () => this.set(null));
    svg.addEventListener("keydown", (event) => this.key(event));
  }

  get busy() {
    return this.drag !== null || this.fingers.size > 1;
  }

  set(range) {
    const [low, high] = this.chart.whole ?? [0, 0];
    const all = !range || (range[0] <= low && range[1] >= high);
    this.range = all ? null : range[1] - range[0] < (high - low) * DEEPEST ? this.range : range;
    this.button.hidden = this.range === null;
    this.chart.draw();
  }

  down(event) {
    if (!this.chart.series.length) return;
    if (event.pointerType === "touch") this.fingers.set(event.pointerId, { level: this.chart.level(event.clientX), x: event.clientX });
    else if (event.button === 0) this.drag = [event.clientX, event.clientX];
    else return;
    this.chart.svg.setPointerCapture(event.pointerId);
  }

  move(event) {
    const finger = this.fingers.get(event.pointerId);
    if (finger) {
      finger.x = event.clientX;
      if (this.fingers.size === 2) this.pinch();
    } else if (this.drag) {
      this.drag[1] = event.clientX;
      this.chart.draw();
    }
  }

  // Each finger keeps the place on the axis that it touched first.
  pinch() {
    const [left, right] = this.chart.edges, [least, most] = this.chart.whole;
    const [a, b] = [...this.fingers.values()].sort((one, other) => one.level - other.level);
    if (b.x - a.x < LEAST_PIXELS || a.level === b.level) return;
    const slope = (b.level - a.level) / (b.x - a.x);
    this.set([Math.max(a.level - (a.x - left) * slope, least), Math.min(b.level + (right - b.x) * slope, most)]);
  }

  up(event) {
    this.fingers.delete(event.pointerId);
    if (!this.drag) return;
    const [from, to] = this.drag.toSorted((a, b) => a - b);
    this.drag = null;
    const chosen = event.type === "pointerup" && to - from >= LEAST_PIXELS;
    this.set(chosen ? [this.chart.level(from), this.chart.level(to)] : this.range);
  }

  key(event) {
    if (!this.chart.series.length || event.ctrlKey || event.metaKey || event.altKey) return;
    const factor = { "+": 0.5, "=": 0.5, "-": 2 }[event.key];
    if (!factor && !["0", "Escape"].includes(event.key)) return;
    event.preventDefault();
    if (!factor) return this.set(null);
    const [low, high] = this.chart.view, [least, most] = this.chart.whole;
    const at = this.chart.at === null ? (low + high) / 2 : this.chart.horizontal.to(this.chart.at);
    this.set([Math.max(at - (at - low) * factor, least), Math.min(at + (high - at) * factor, most)]);
  }

  // Let a place be seen, for the arrow keys have gone there.
  follow(level) {
    if (!this.range || (level >= this.range[0] && level <= this.range[1])) return;
    const shift = level < this.range[0] ? level - this.range[0] : level - this.range[1];
    this.set(this.range.map((edge) => edge + shift));
  }

  // What is being chosen, drawn over the curves.
  show(plot, top, bottom) {
    if (!this.drag) return;
    const svg = this.chart.svg.getBoundingClientRect(), scale = this.chart.width / svg.width;
    const [from, to] = this.drag.map((x) => (x - svg.left) * scale).toSorted((a, b) => a - b);
    const box = document.createElementNS(NS, "rect");
    for (const [name, value] of Object.entries({ class: "chosen", x: from, y: top, width: to - from, height: bottom - top })) box.setAttribute(name, value);
    plot.append(box);
  }
}
