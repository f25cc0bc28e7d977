// What is drawn: a curve is one metric of one run, a series one run or the runs of several seeds.
// A curve is {steps, x, mean, low, high}, arrays of one length without gaps.

/** A run's metric over an axis, or null where it has none. */
function curve(run, metric, axis) {
  const { step, values, [axis]: x } = run.curves;
  if (!values[metric] || !x) return null;
  const { mean, low = mean, high = mean } = values[metric];
  const there = mean.flatMap((value, i) => (value === null || x[i] === null ? [] : [i]));
  const pick = (array) => there.map((i) => array[i]);
  return { steps: pick(step), x: pick(x), mean: pick(mean), low: pick(low), high: pick(high) };
}

/** An exponential average over about `span` steps that starts without bias; 0 leaves the values as they are. */
function smooth(steps, values, span) {
  if (span === 0) return values;
  let sum = 0;
  let weight = 0;
  return values.map((value, i) => {
    const keep = i === 0 ? 0 : Math.exp(-(steps[i] - steps[i - 1]) / span);
    sum = keep * sum + value;
    weight = keep * weight + 1;
    return sum / weight;
  });
}

/** The mean curve of several, bucket by bucket, between the lowest and the highest of them. */
function average(curves, bucket) {
  const found = new Map();
  for (const { steps, x, mean } of curves) {
    steps.forEach((step, i) => {
      const key = Math.ceil(step / bucket);
      if (!found.has(key)) found.set(key, { step, x: [], y: [] });
      found.get(key).x.push(x[i]);
      found.get(key).y.push(mean[i]);
    });
  }
  const rows = [...found.keys()].sort((a, b) => a - b).map((key) => found.get(key));
  const center = (numbers) => numbers.reduce((a, b) => a + b) / numbers.length;
  return {
    steps: rows.map((row) => row.step),
    x: rows.map((row) => center(row.x)),
    mean: rows.map((row) => center(row.y)),
    low: rows.map((row) => Math.min(...row.y)),
    high: rows.map((row) => Math.max(...row.y)),
    members: rows.map((row) => row.y.length),
  };
}

/** What a chart shows of a series: `line` smoothed, `band` around it, and `raw`, the unsmoothed line behind. */
function drawn(runs, metric, { axis, span, bucket }) {
  const curves = runs.map((run) => curve(run, metric, axis)).filter((c) => c !== null && c.x.length > 0);
  if (curves.length === 0) return null;
  const smoothed = curves.map((c) => ({ ...c, mean: smooth(c.steps, c.mean, span) }));
  if (runs.length > 1) {
    const line = average(smoothed, bucket);
    return { line, band: line, raw: null };
  }
  const [only] = curves;
  return { line: smoothed[0], band: bucket > 1 ? only : null, raw: span > 0 && bucket === 1 ? only : null };
}

/**
 * The lowest and highest y of what is drawn between two x, with a margin. Trimmed, single spikes may leave the
 * chart: the middle nine tenths of all values, and 40% of their extent on either side, stay in it.
 */
function extent(drawnSeries, { start, end }, trim) {
  const inside = ({ x }, values) => values.filter((_, i) => x[i] >= start && x[i] <= end);
  const values = drawnSeries.flatMap(({ line, band, raw }) => [
    ...inside(line, line.mean), ...(band ? [...inside(band, band.low), ...inside(band, band.high)] : []),
    ...(raw ? inside(raw, raw.mean) : [])]).sort((a, b) => a - b);
  if (!values.length) return { start: 0, end: 1 };
  let [low, high] = [values[0], values.at(-1)];
  const quantile = (share) => values[Math.round(share * (values.length - 1))];
  const spread = 0.4 * (quantile(0.95) - quantile(0.05));
  if (trim && spread > 0) {
    low = Math.max(low, quantile(0.05) - spread);
    high = Math.min(high, quantile(0.95) + spread);
  }
  const margin = 0.06 * (high - low) || Math.abs(high) / 2 || 1;
  return { start: low - margin, end: high + margin };
}

/** The index of the number nearest to `target` in an increasing array. */
function nearest(numbers, target) {
  let low = 0;
  let high = numbers.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (numbers[middle] < target) low = middle;
    else high = middle;
  }
  return target - numbers[low] <= numbers[high] - target ? low : high;
}
