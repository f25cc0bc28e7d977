// The page's controls, and what they move.

const page = JSON.parse(byId("data").textContent);
const AXIS_NAMES = { step: "Steps", num_tokens: "Tokens", wall_s: "Wall time" };
const longest = (axis) => Math.max(0, ...page.runs.map((run) => run.curves[axis]?.at(-1) ?? 0));
const time = timeUnit(longest("wall_s"));
for (const { curves } of page.runs) curves.wall_s &&= curves.wall_s.map((seconds) => seconds / time.divisor);

/** A smoothing position (0 to 20) as a number of steps, up to a quarter of the longest run. */
const spanOf = (position) => (position === 0 ? 0 : Math.max(1, Math.round((longest("step") / 4) ** (position / 20))));

const settings = { axis: "step", span: 0, bucket: page.bucket, trim: false, zoom: { start: 0, end: 1 } };
const charts = new Map();
const open = new Set(page.metrics.filter((metric) => metric.open).map((metric) => metric.name));
let series = [];

/** One series a run, or one a group of seeds. */
function makeSeries() {
  const bySeed = byId("by-seed").checked;
  const groups = bySeed ? page.groups : page.runs.map((run, i) => ({ label: run.name, runs: [i] }));
  series = groups.map(({ label, runs }, index) => ({
    label, runs: runs.map((i) => page.runs[i]), index, visible: true,
  }));
  byId("legend").hidden = page.runs.length === 1;
  byId("legend").replaceChildren(...series.map(legendEntry));
}

function legendEntry(one) {
  const box = el("input", { type: "checkbox", checked: true });
  const swatch = el("i", { class: "swatch" });
  swatch.style.background = `var(--series-${one.index % COLOURS})`;
  box.addEventListener("change", () => {
    one.visible = box.checked;
    refresh();
  });
  const many = one.runs.length > 1 ? ` (mean of ${one.runs.length}, band: lowest to highest)` : null;
  return el("label", {}, box, swatch, el("span", {}, one.label, many));
}

function refresh() {
  for (const chart of charts.values()) chart.refresh(settings);
}

/** Where the longest run begins and ends on the present axis. */
function wholeRun() {
  const ends = page.runs.flatMap((run) => (run.curves[settings.axis] ?? []).filter((x) => x !== null));
  if (!ends.length) return { start: 0, end: 1 };
  const start = settings.axis === "step" ? ends.reduce((a, b) => Math.min(a, b)) : 0;
  const end = ends.reduce((a, b) => Math.max(a, b));
  return { start, end: end > start ? end : start + 1 };
}

function zoom(start, end) {
  settings.zoom = { start, end };
  for (const chart of charts.values()) chart.fit(settings);
  const whole = wholeRun();
  byId("reset-zoom").hidden = start === whole.start && end === whole.end;
}

function resetZoom() {
  const { start, end } = wholeRun();
  zoom(start, end);
}

/** Where the pointer is: a cursor in every chart and the values in a small box beside it. */
function onHover(chart, { x, sx, sy }) {
  const values = chart.valuesAt(x);
  if (!values.length) return;
  for (const other of charts.values()) other.cursor.setv({ location: values[0].x, visible: true });
  const box = byId("readout");
  const unit = settings.axis === "wall_s" ? time.unit : settings.axis === "num_tokens" ? "tokens" : null;
  const line = ({ label, index, value, ends, raw }) => {
    const dot = el("i", { class: "swatch" });
    dot.style.background = `var(--series-${index % COLOURS})`;
    const unsmoothed = raw === undefined ? null : ` (unsmoothed ${short(raw)})`;
    const beside = ends ? ` (${short(ends[0])} to ${short(ends[1])})` : unsmoothed;
    const name = page.runs.length > 1 ? `${label} ` : null;
    return el("div", {}, dot, name, el("b", {}, short(value)), beside);
  };
  const where = `step ${short(values[0].step)}${unit ? ` · ${short(values[0].x)} ${unit}` : ""}`;
  box.replaceChildren(el("div", { class: "quiet" }, where), ...values.map(line));
  box.hidden = false;
  place(box, chart.element.getBoundingClientRect(), sx, sy);
}

/** Put the box beside a point of an element, on the side where the window has room for it. */
function place(box, { left, top }, sx, sy) {
  const { clientWidth, clientHeight } = document.documentElement;
  const beside = (at, size, room) => (at + 14 + size < room ? at + 14 : Math.max(8, at - 14 - size));
  box.style.left = `${scrollX + beside(left + sx, box.offsetWidth, clientWidth)}px`;
  box.style.top = `${scrollY + beside(top + sy, box.offsetHeight, clientHeight)}px`;
}

function onLeave() {
  byId("readout").hidden = true;
  for (const chart of charts.values()) chart.cursor.visible = false;
}

const handlers = { onHover, onLeave, onZoom: zoom, onReset: resetZoom };

/** Make the charts that are open and not there, remove those that are there and not open, in the list's order. */
function showCharts() {
  for (const { name } of page.metrics) {
    const there = charts.get(name);
    if (there && !open.has(name)) {
      there.remove();
      there.element.parentElement.remove();
      charts.delete(name);
    }
    if (!there && open.has(name)) addChart(name);
  }
  byId("picker").querySelector("summary").textContent = `Choose curves (${open.size} of ${page.metrics.length} shown)`;
}

function addChart(name) {
  const plot = el("div", { class: "plot", role: "img" });
  const figure = el("figure", { "data-metric": name }, el("figcaption", {}, name), plot);
  const order = page.metrics.map((metric) => metric.name);
  const after = [...byId("charts").children].find((other) => order.indexOf(other.dataset.metric) > order.indexOf(name));
  byId("charts").insertBefore(figure, after ?? null);
  const chart = new Chart(name, series, plot, handlers);
  chart.refresh(settings);
  charts.set(name, chart);
}

function redraw() {
  const wanted = [...open];
  open.clear();
  showCharts();
  wanted.forEach((name) => open.add(name));
  showCharts();
}

function makePicker() {
  const choice = ({ name }) => {
    const box = el("input", { type: "checkbox", value: name, checked: open.has(name) });
    box.addEventListener("change", () => {
      if (box.checked) open.add(name);
      else open.delete(name);
      showCharts();
    });
    return el("label", {}, box, name);
  };
  const sections = [...new Set(page.metrics.map((metric) => metric.section))];
  byId("picker").querySelector(".picker").append(...sections.map((section) =>
    el("fieldset", {}, el("legend", {}, section), ...page.metrics.filter((m) => m.section === section).map(choice))));
}

function makeAxis() {
  for (const axis of page.axes) {
    const button = el("input", { type: "radio", name: "axis", value: axis, checked: axis === "step" });
    const name = axis === "wall_s" ? `${AXIS_NAMES[axis]} (${time.unit})` : AXIS_NAMES[axis];
    byId("axis").append(el("label", {}, button, name));
    button.addEventListener("change", () => {
      settings.axis = axis;
      refresh();
      resetZoom();
    });
  }
}

function onSmoothing() {
  settings.span = spanOf(Number(byId("smoothing").value));
  const steps = settings.span === 1 ? "step" : "steps";
  byId("span").textContent = settings.span ? `about ${short(settings.span)} ${steps}` : "off";
  refresh();
}

function showCurves() {
  byId("curves").hidden = page.metrics.length === 0;
  byId("by-seed-label").hidden = !page.groups.some((group) => group.runs.length > 1);
  byId("smoothing").value = longest("step") >= 20 ? 8 : 0;
  byId("smoothing").addEventListener("input", onSmoothing);
  byId("reset-zoom").addEventListener("click", resetZoom);
  byId("trim").addEventListener("change", ({ target }) => {
    settings.trim = target.checked;
    refresh();
  });
  byId("by-seed").addEventListener("change", () => {
    makeSeries();
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  if (page.bucket > 1) {
    byId("curves-note").textContent = `Each point is the mean of ${page.bucket} steps; `
      + "the band of a single run spans their lowest and highest values.";
  }
  makeSeries();
  makeAxis();
  makePicker();
  resetZoom();
  showCharts();
  onSmoothing();
}

showResult(page);
showCurves();
new Completions(page);
showConfiguration(page);
document.documentElement.dataset.ready = "true";
