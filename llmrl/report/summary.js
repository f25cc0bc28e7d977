// The result: before and after, key numbers, the comparison of several runs, and the configuration.

const MEASURES = { accuracy: "Held-out accuracy, sampled", greedy: "Held-out accuracy, greedy" };
const measureName = (name) => MEASURES[name] ?? `Held-out ${name}`;
const measureNames = (page) => [...new Set(page.runs.flatMap((run) => Object.keys(run.measures)))];
const present = (values) => values.filter((value) => typeof value === "number");
const mean = (values) => values.reduce((a, b) => a + b) / values.length;

function status(run) {
  if (run.finished) return "finished";
  return `not finished: at step ${short(run.steps)}${run.planned ? ` of ${short(run.planned)}` : ""}`;
}

function change(before, after) {
  if (typeof before !== "number" || typeof after !== "number") return null;
  return el("span", { class: "change" }, signed(after - before));
}

/** One measure as a headline: before → after, the change, and both on a scale from 0 to 1 where they are shares. */
function measureCard(name, { before, after, step }, finished) {
  const share = present([before, after]).every((value) => value >= 0 && value <= 1);
  const from = typeof before === "number" ? before : after;
  const track = el("div", { class: "track", "aria-hidden": "true" }, el("i"), el("b"));
  const [gain, start] = track.children;
  gain.style.left = `${100 * Math.min(from, after)}%`;
  gain.style.width = `${100 * Math.abs(after - from)}%`;
  start.style.left = `${100 * from}%`;
  return el("article", { class: "card" },
    el("h3", {}, measureName(name)),
    el("p", { class: "headline" }, el("span", { class: "before" }, fixed(before)),
      el("span", { class: "arrow", "aria-label": "to" }, "→"), el("strong", {}, fixed(after)), change(before, after)),
    share ? track : null,
    el("p", { class: "quiet" }, finished ? "before → after training" : `newest evaluation: after step ${short(step)}`));
}

function facts(run) {
  const pairs = [
    ["Steps", run.planned && !run.finished ? `${short(run.steps)} of ${short(run.planned)}` : short(run.steps)],
    ["Wall time", duration(run.wall_s)],
    ["Completions", count(run.completions)],
    ["Tokens", count(run.num_tokens)],
    ["Failed rewards", count(run.failed)],
    ["Best accuracy", run.best.length ? `${fixed(run.best[0])} at step ${short(run.best[1])}` : null],
    ["Seed", run.seed == null ? null : String(run.seed)],
  ];
  return pairs.filter(([, value]) => value !== null && value !== "–");
}

/** A table whose first column names the rows. */
function table(head, rows) {
  const cells = (tag, row) => row.map((cell, i) => el(i === 0 ? "th" : tag, i === 0 ? { scope: "row" } : {}, cell));
  return el("table", {},
    el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...rows.map(({ cells: row, kind }) => el("tr", { class: kind }, ...cells("td", row)))));
}

function beforeAfter(measures) {
  const before = present(measures.map((m) => m?.before));
  const after = present(measures.map((m) => m?.after));
  const averaged = (values) => (values.length ? mean(values) : null);
  if (!after.length) return "–";
  const span = el("span", { class: "pair" }, `${fixed(averaged(before))} → `, el("strong", {}, fixed(averaged(after))));
  if (before.length === after.length) span.append(" ", change(averaged(before), averaged(after)));
  const range = ` (${fixed(Math.min(...after))} to ${fixed(Math.max(...after))})`;
  if (after.length > 1) span.append(el("small", { class: "quiet" }, range));
  return span;
}

function comparison(page) {
  const names = measureNames(page);
  const row = (run, label, kind) => ({ kind, cells: [label, ...names.map((n) => beforeAfter([run.measures[n]])),
    short(run.seed), short(run.steps), duration(run.wall_s), run.finished ? "finished" : "not finished"] });
  const rows = page.groups.flatMap((group) => {
    const runs = group.runs.map((i) => page.runs[i]);
    if (runs.length === 1) return [row(runs[0], group.label)];
    const averaged = names.map((n) => beforeAfter(runs.map((run) => run.measures[n])));
    return [{ kind: "group", cells: [`${group.label}: mean of ${runs.length}`, ...averaged, "", "", "", ""] },
      ...runs.map((run) => row(run, run.name, "member"))];
  });
  return table(["Run", ...names.map(measureName), "Seed", "Steps", "Wall time", "State"], rows);
}

function notes(page) {
  return page.runs.flatMap((run) => {
    const odd = Object.entries(run.not_finite).map(([name, [number, first]]) =>
      `${name} was not finite ${number === 1 ? "once" : `${short(number)} times`}, first at step ${short(first)}`);
    const prefix = page.runs.length > 1 ? `${run.name}: ` : "";
    return [...run.notes, ...odd].map((note) => el("p", { class: "note" }, prefix + note));
  });
}

function showResult(page) {
  const [run] = page.runs;
  const single = page.runs.length === 1;
  byId("title").textContent = page.title;
  const models = [...new Set(page.runs.map((one) => one.model).filter(Boolean))];
  const state = single ? [status(run), `last written ${run.written}`] : [];
  byId("subtitle").textContent = [models.join(", "), ...state].filter(Boolean).join(" · ");
  byId("footer").textContent = `Written by llmrl ${page.version} on ${page.written}. `
    + "This file holds everything it shows and asks no network for more.";
  byId("notes").append(...notes(page));
  byId("comparison").hidden = single;
  if (!single) return byId("comparison").append(comparison(page));
  const cards = Object.entries(run.measures).map(([name, measure]) => measureCard(name, measure, run.finished));
  byId("measures").append(...cards);
  byId("facts").append(...facts(run).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function showConfiguration(page) {
  const names = page.runs.map((run) => run.name);
  const row = ({ key, values }) => ({ cells: [key, ...values] });
  const differing = page.config.filter(({ values }) => values.some((value) => value !== values[0]));
  if (differing.length) {
    byId("differences").append(el("h3", {}, "What differs"), table(["Setting", ...names], differing.map(row)));
  }
  const keys = [...new Set(page.environment.flatMap((one) => Object.keys(one)))];
  const environment = keys.map((key) => ({ key, values: page.environment.map((one) => short(one[key])) }));
  const all = [...page.config, ...environment];
  const settings = byId("settings");
  settings.open = page.runs.length === 1;
  settings.querySelector("summary").textContent = `All ${all.length} settings`;
  const whole = table(["Setting", ...names], all.map(row));
  settings.querySelector(".scroll").append(whole);
  settings.querySelector("input").addEventListener("input", ({ target }) => {
    const wanted = target.value.toLowerCase();
    for (const tr of whole.tBodies[0].rows) tr.hidden = !tr.textContent.toLowerCase().includes(wanted);
  });
}
