// Charts by Bokeh, one a metric. The page keeps their x ranges and cursors together.

const HEIGHT = 190;

/** A colour of the page's style, as it is in the present light or dark scheme. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const COLOURS = 8;
const seriesColour = (i) => colour(`series-${i % COLOURS}`);
const seriesDash = (i) => (i < COLOURS ? "solid" : "dashed");

/** Seconds in the unit that suits the longest run. */
function timeUnit(seconds) {
  if (seconds < 180) return { divisor: 1, unit: "s" };
  return seconds < 3 * 3600 ? { divisor: 60, unit: "min" } : { divisor: 3600, unit: "h" };
}

/** Tick labels as short as the page's other numbers. */
class ShortLabels extends Bokeh.TickFormatter {
  doFormat(ticks) {
    return ticks.map((tick) => (Math.abs(tick) >= 1e4 ? count(tick) : short(tick)));
  }
}

class Chart {
  /** Draws `metric` into `element`; `series` is a list of {label, runs, index}. */
  constructor(metric, series, element, handlers) {
    Object.assign(this, { metric, series, element });
    this.range = new Bokeh.Range1d();
    this.heights = new Bokeh.Range1d();
    this.figure = this.makeFigure(handlers);
    this.layers = series.map((one) => this.addSeries(one.index));
    this.cursor = new Bokeh.Span({
      location: 0, dimension: "height", line_color: colour("quiet"), line_width: 1, visible: false,
    });
    this.figure.add_layout(this.cursor);
    this.ready = Bokeh.Plotting.show(this.figure, element);
  }

  makeFigure({ onHover, onLeave, onZoom, onReset }) {
    const figure = Bokeh.Plotting.figure({
      name: this.metric, height: HEIGHT, sizing_mode: "stretch_width", tools: [], toolbar_location: null,
      x_range: this.range, y_range: this.heights,
      background_fill_alpha: 0, border_fill_alpha: 0, outline_line_alpha: 0, min_border: 0, min_border_right: 8,
    });
    for (const axis of [figure.xaxis, figure.yaxis]) {
      axis.formatter = new ShortLabels();
      axis.axis_line_alpha = 0;
      axis.major_tick_line_alpha = 0;
      axis.minor_tick_line_alpha = 0;
      axis.major_label_text_color = colour("quiet");
      axis.major_label_text_font = "system-ui, sans-serif";
      axis.major_label_text_font_size = "11px";
    }
    figure.xaxis.ticker = new Bokeh.BasicTicker({ desired_num_ticks: 5 });
    figure.yaxis.ticker = figure.ygrid.ticker = new Bokeh.BasicTicker({ desired_num_ticks: 4 });
    figure.xgrid.visible = false;
    figure.ygrid.grid_line_color = colour("line");
    const touch = matchMedia("(pointer: coarse)").matches; // where dragging scrolls the page
    if (!touch) figure.add_tools(new Bokeh.BoxZoomTool({ dimensions: "width" }));
    figure.on_event("mousemove", (event) => onHover(this, event));
    figure.on_event("tap", (event) => onHover(this, event));
    figure.on_event("mouseleave", onLeave);
    figure.on_event("doubletap", onReset);
    figure.on_event("rangesupdate", ({ x0, x1 }) => onZoom(x0, x1));
    return figure;
  }

  addSeries(index) {
    const color = seriesColour(index);
    const [line, band, raw] = [0, 1, 2].map(() => new Bokeh.ColumnDataSource({ data: {} }));
    const at = (name) => ({ field: name });
    this.figure.varea(at("x"), at("low"), at("high"), { source: band, fill_color: color, fill_alpha: 0.18 });
    this.figure.line(at("x"), at("y"), { source: raw, line_color: color, line_alpha: 0.28, line_width: 1 });
    const style = { line_color: color, line_width: 1.75, line_join: "round", line_dash: seriesDash(index) };
    this.figure.line(at("x"), at("y"), { source: line, ...style });
    const dots = this.figure.scatter(at("x"), at("y"), { source: line, size: 5, fill_color: color, line_color: null });
    return { line, band, raw, dots };
  }

  /** Show the visible series as `settings` say. */
  refresh(settings) {
    this.data = this.series.map(({ runs, visible }) => (visible ? drawn(runs, this.metric, settings) : null));
    this.data.forEach((data, i) => {
      const { line, band, raw, dots } = this.layers[i];
      line.data = data ? { x: data.line.x, y: data.line.mean } : { x: [], y: [] };
      const { x = [], low = [], high = [] } = data?.band ?? {};
      band.data = { x, low, high };
      raw.data = data?.raw ? { x: data.raw.x, y: data.raw.mean } : { x: [], y: [] };
      dots.visible = data !== null && data.line.x.length <= 12; // a few evaluations, or a run that has just begun
    });
    this.fit(settings);
    const last = this.data.filter(Boolean).map(({ line }) => short(line.mean.at(-1)));
    this.element.setAttribute("aria-label", `${this.metric}: ${last.length ? `now ${last.join(", ")}` : "no values"}`);
  }

  /** Show x from `start` to `end`, and as much y as lies there. */
  fit({ zoom, trim }) {
    this.range.setv(zoom);
    this.heights.setv(extent(this.data.filter(Boolean), zoom, trim));
  }

  /** Label, x, value and spread of every visible series nearest to `x`. */
  valuesAt(x) {
    return this.data.flatMap((data, i) => {
      if (!data) return [];
      const { line, band, raw } = data;
      const at = nearest(line.x, x);
      const ends = band && (band === line ? line.members[at] > 1 : true) ? [band.low[at], band.high[at]] : null;
      const { label, index } = this.series[i];
      return [{ label, index, x: line.x[at], step: line.steps[at], value: line.mean[at], ends, raw: raw?.mean[at] }];
    });
  }

  async remove() {
    (await this.ready).remove();
  }
}
