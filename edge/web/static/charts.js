// One chart of the last minutes on a canvas: areas, lines or bars over seconds; it asks nobody.

const PAD = { left: 34, right: 8, top: 8, bottom: 20 };
const HEADROOM = 1.05;
const SPANS_S = [60, 120, 300];
const CLIP = 1.6; // one slow frame, such as the first, must not flatten all others

// The shortest span that holds all samples.
export function spanOf(samples) {
  const held = samples.length ? samples.at(-1).t - samples[0].t : 0;
  return SPANS_S.find((span) => held <= span) ?? SPANS_S.at(-1);
}

export class Chart {
  // series: [{name, of(sample) -> number | null, colour: a custom property, kind: "stack", "area",
  // "line", "dashed" or "bar"}]; say(sample) -> what is read out; onPoint(t | null) -> a second was
  // pointed at.
  constructor(place, { label, series, say, whole = false, onPoint }) {
    Object.assign(this, { series, say, whole, onPoint, samples: [], span: SPANS_S[0], at: null });
    this.canvas = document.createElement("canvas");
    // To assistive technology it is a slider over seconds, each of which can be read.
    for (const [name, value] of Object.entries({
      role: "slider", tabindex: "0", "aria-label": `${label}, second by second`, "aria-valuemax": "0",
    })) this.canvas.setAttribute(name, value);
    place.append(this.canvas);
    this.canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.canvas.addEventListener("pointerdown", (event) => this.#point(event));
    this.canvas.addEventListener("pointerleave", () => this.onPoint(null));
    this.canvas.addEventListener("blur", () => this.onPoint(null));
    this.canvas.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(place);
  }

  // at: the second (t of a sample) that is pointed at, null for none.
  show(samples, span, at) {
    Object.assign(this, { samples, span, at });
    this.draw();
  }

  draw() {
    const { width, height } = this.canvas.parentElement.getBoundingClientRect();
    if (!width || !height) return;
    const dense = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * dense);
    this.canvas.height = Math.round(height * dense);
    const pen = this.canvas.getContext("2d");
    pen.scale(dense, dense);
    const style = getComputedStyle(document.documentElement);
    this.colour = (name) => style.getPropertyValue(name).trim();
    pen.font = `11px ${style.fontFamily}`;
    this.box = { x: PAD.left, y: PAD.top, w: width - PAD.left - PAD.right, h: height - PAD.top - PAD.bottom };
    this.end = this.samples.at(-1)?.t ?? 0;
    this.#scale();
    this.#axes(pen);
    this.#silence(pen);
    const base = this.samples.map(() => 0);
    for (const one of this.series) this.#series(pen, one, base);
    this.#cursor(pen);
    this.#describe();
  }

  x = (t) => this.box.x + this.box.w * (1 - (this.end - t) / this.span);

  y = (value) => this.box.y + this.box.h * (1 - Math.min(value, this.top) / this.top);

  #scale() {
    const stacked = this.series.filter((one) => one.kind === "stack");
    const tallest = this.samples.map((sample) => Math.max(
      stacked.reduce((sum, one) => sum + (one.of(sample) ?? 0), 0),
      ...this.series.map((one) => one.of(sample) ?? 0),
    )).sort((a, b) => a - b);
    const most = tallest.at(-1) ?? 0;
    const usual = tallest[Math.floor(0.9 * (tallest.length - 1))] ?? 0;
    const shown = HEADROOM * (usual > 0 ? Math.min(most, CLIP * usual) : most);
    this.step = nice(shown / 3, this.whole);
    this.top = Math.max(1, Math.ceil(shown / this.step)) * this.step;
  }

  #axes(pen) {
    const { x, y, w, h } = this.box;
    Object.assign(pen, { strokeStyle: this.colour("--line"), fillStyle: this.colour("--quiet"), lineWidth: 1 });
    Object.assign(pen, { textAlign: "right", textBaseline: "middle" });
    for (let value = 0; value <= this.top + 1e-9; value += this.step) {
      const row = Math.round(this.y(value)) + 0.5;
      stroke(pen, [[x, row], [x + w, row]]);
      pen.fillText(`${Number(value.toPrecision(6))}`, x - 6, row);
    }
    const every = w < 160 ? this.span : w < 260 ? this.span / 2 : this.span === 300 ? 60 : this.span / 4;
    pen.textBaseline = "top";
    for (let ago = 0; ago <= this.span; ago += every) {
      pen.textAlign = ago === 0 ? "right" : ago === this.span ? "left" : "center";
      pen.fillText(ago === 0 ? "now" : `−${span(ago)}`, x + w * (1 - ago / this.span), y + h + 6);
    }
  }

  // Seconds in which the source was not live are shaded, those that follow each other as one.
  #silence(pen) {
    pen.fillStyle = this.colour("--silence");
    const seen = this.#seen();
    seen.forEach((sample, i) => {
      if (sample.state === "live" || (i && seen[i - 1].state !== "live")) return;
      const after = seen.findIndex(({ state }, k) => k > i && state === "live");
      const left = Math.max(this.box.x, this.x(sample.t - 1));
      const right = this.x(seen.at(after < 0 ? -1 : after - 1).t);
      pen.fillRect(left, this.box.y, right - left, this.box.h);
    });
  }

  #seen = () => this.samples.filter((sample) => sample.t >= this.end - this.span);

  // base: where the stack stands so far at each sample; a stacked series adds itself.
  #series(pen, one, base) {
    const colour = this.colour(one.colour);
    Object.assign(pen, { strokeStyle: colour, fillStyle: colour, lineWidth: 1.5, lineJoin: "round" });
    pen.setLineDash(one.kind === "dashed" ? [4, 3] : []);
    if (one.kind === "bar") {
      const second = this.box.w / this.span;
      const gap = second > 4 ? 1 : 0; // thinner ones would make a pattern of their own
      for (const sample of this.#seen()) {
        const left = Math.round(this.x(sample.t) - second);
        const top = this.y(one.of(sample) ?? 0);
        pen.fillRect(left, top, Math.max(1, Math.round(this.x(sample.t)) - left - gap), this.y(0) - top);
      }
      return;
    }
    for (const run of this.#runs(one)) {
      const line = run.map((i) => {
        const value = one.of(this.samples[i]);
        const low = one.kind === "stack" ? base[i] : 0;
        if (one.kind === "stack") base[i] += value;
        return { x: this.x(this.samples[i].t), y: this.y(low + value), low: this.y(low), over: low + value > this.top };
      });
      if (one.kind === "stack" || one.kind === "area") {
        pen.globalAlpha = one.kind === "stack" ? 0.75 : 0.18;
        pen.beginPath();
        for (const { x, y } of line) pen.lineTo(x, y);
        for (const { x, low } of [...line].reverse()) pen.lineTo(x, low);
        pen.fill();
        pen.globalAlpha = 1;
      }
      if (one.kind !== "stack") stroke(pen, line.map(({ x, y }) => [x, y]));
      // What is higher than the chart: a mark at its top.
      for (const { x, over } of line) if (over && one.kind !== "stack") mark(pen, x, this.box.y);
    }
    pen.setLineDash([]);
  }

  // Indices of samples that follow each other and have a value.
  #runs(one) {
    const runs = [];
    let before = null;
    this.samples.forEach((sample, i) => {
      if (sample.t < this.end - this.span || one.of(sample) == null) return;
      if (before === i - 1 && sample.t - this.samples[before].t < 2.5) runs.at(-1).push(i);
      else runs.push([i]);
      before = i;
    });
    return runs;
  }

  #cursor(pen) {
    const sample = this.samples.find(({ t }) => t === this.at);
    if (!sample) return;
    const x = Math.round(this.x(sample.t)) + 0.5;
    pen.strokeStyle = this.colour("--text");
    stroke(pen, [[x, this.box.y], [x, this.box.y + this.box.h]]);
  }

  #describe() {
    const last = this.samples.length - 1;
    const index = this.samples.findIndex(({ t }) => t === this.at);
    const i = index < 0 ? last : index;
    this.canvas.setAttribute("aria-valuemin", `${-Math.max(0, last)}`);
    this.canvas.setAttribute("aria-valuenow", `${i - last || 0}`);
    const sample = this.samples[i];
    const when = i === last ? "now" : `${Math.round(this.end - (sample?.t ?? 0))} seconds ago`;
    this.canvas.setAttribute("aria-valuetext", sample ? `${when}: ${this.say(sample)}` : "nothing yet");
  }

  #point(event) {
    const t = this.end - this.span * (1 - (event.offsetX - this.box.x) / this.box.w);
    let nearest = null;
    for (const sample of this.#seen()) {
      if (nearest === null || Math.abs(sample.t - t) < Math.abs(nearest - t)) nearest = sample.t;
    }
    this.onPoint(nearest);
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    const last = this.samples.length - 1;
    if (last < 0) return;
    const index = this.samples.findIndex(({ t }) => t === this.at);
    const to = event.key === "Home" ? 0 : event.key === "End" ? last : (index < 0 ? last : index) + step;
    if (event.key === "Escape") this.onPoint(null);
    else if (Number.isNaN(to)) return;
    else this.onPoint(this.samples[Math.min(Math.max(to, 0), last)].t);
    event.preventDefault();
  }
}

// 1, 2 or 5 times a power of ten, no less than value; for counts no less than 1.
function nice(value, whole) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  const step = power * ([1, 2, 5].find((by) => by * power >= value) ?? 10);
  return whole ? Math.max(1, step) : step;
}

function span(seconds) {
  return seconds >= 60 ? `${seconds / 60} min` : `${seconds} s`;
}

function stroke(pen, points) {
  pen.beginPath();
  for (const [x, y] of points) pen.lineTo(x, y);
  if (points.length === 1) pen.lineTo(points[0][0] + 1, points[0][1]);
  pen.stroke();
}

function mark(pen, x, y) {
  pen.beginPath();
  pen.moveTo(x - 3, y + 5);
  pen.lineTo(x, y);
  pen.lineTo(x + 3, y + 5);
  pen.fill();
}
