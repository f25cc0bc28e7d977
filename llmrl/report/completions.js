// The browsable table of completions. Rows are numbers into the columns of page.completions.

const PER_PAGE = 50;
const CLIPPED = 160;

class Completions {
  constructor(page) {
    const { columns, prompts, count: size } = page.completions;
    Object.assign(this, { page, columns, prompts, size, sortBy: null, descending: false, first: 0 });
    this.parts = Object.keys(columns).filter((name) => name.startsWith("rewards/"));
    this.shown = this.shownColumns();
    this.found = [];
    this.fillChoices();
    this.listen();
    this.search();
  }

  /** One value, prompts looked up and runs named. */
  value(name, row) {
    const value = this.columns[name]?.[row];
    if (name === "prompt") return value == null ? null : this.prompts[value];
    if (name === "run") return this.page.runs[value].name;
    return name === "failures" ? value?.length ?? 0 : value;
  }

  shownColumns() {
    const wanted = ["step", "run", "prompt", "completion", "answer", "reward",
      ...(this.parts.length > 1 ? this.parts : []), "advantage", "tokens", "finish_reason", "failures"];
    const empty = { run: this.page.runs.length === 1, failures: !this.columns.failures?.some((of) => of?.length) };
    return wanted.filter((name) => this.columns[name] && !empty[name]);
  }

  fillChoices() {
    const choices = (select, values) => select.append(el("option", { value: "" }, "all"),
      ...values.map(([value, label]) => el("option", { value }, label)));
    const { run, finish } = byId("filter").elements;
    choices(run, this.page.runs.map((one, i) => [i, one.name]));
    choices(finish, [...new Set(this.columns.finish_reason ?? [])].filter(Boolean).map((reason) => [reason, reason]));
    byId("run-label").hidden = this.page.runs.length < 2;
    byId("failed-label").hidden = !this.shown.includes("failures");
    const seen = this.page.runs.reduce((sum, one) => sum + one.completions, 0);
    byId("sample").textContent = this.size === seen ? `All ${short(seen)} completions.`
      : `${short(this.size)} of ${short(seen)} completions: the first and the last of the run, the best, the worst, `
        + "those on which a reward failed, and whole groups drawn at random.";
  }

  listen() {
    const form = byId("filter");
    form.addEventListener("input", () => this.search());
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(() => this.search()));
    byId("previous").addEventListener("click", () => this.turn(-PER_PAGE));
    byId("next").addEventListener("click", () => this.turn(PER_PAGE));
    byId("close").addEventListener("click", () => byId("opened").close());
    byId("earlier").addEventListener("click", () => this.move(-1));
    byId("later").addEventListener("click", () => this.move(1));
    byId("opened").addEventListener("keydown", ({ key }) => this.move({ ArrowLeft: -1, ArrowRight: 1 }[key] ?? 0));
    byId("opened").addEventListener("close", () => this.focus(this.position));
    byId("opened").addEventListener("click", ({ target }) => target === byId("opened") && target.close());
    const body = byId("rows").tBodies[0];
    body.addEventListener("click", ({ target }) => this.open(this.positionOf(target)));
    body.addEventListener("keydown", (event) => this.onRowKey(event));
  }

  onRowKey(event) {
    const position = this.positionOf(event.target);
    const moves = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key === "Enter" || event.key === " ") this.open(position);
    else if (moves[event.key]) this.focus(position + moves[event.key]);
    else return;
    event.preventDefault();
  }

  /** Whether a row passes the filters as they stand. */
  filter() {
    const form = new FormData(byId("filter"));
    const text = form.get("text").toLowerCase();
    const number = (name) => (form.get(name) === "" ? null : Number(form.get(name)));
    const range = (name, from, to) => (row) => {
      if (from === null && to === null) return true;
      const value = this.columns[name]?.[row];
      return typeof value === "number" && value >= (from ?? -Infinity) && value <= (to ?? Infinity);
    };
    const within = [
      range("reward", number("rewardFrom"), number("rewardTo")),
      range("step", number("stepFrom"), number("stepTo")),
    ];
    const matches = (row) => ["prompt", "completion", "answer"].some((name) =>
      String(this.value(name, row) ?? "").toLowerCase().includes(text));
    return (row) => within.every((passes) => passes(row))
      && (form.get("run") === "" || this.columns.run[row] === Number(form.get("run")))
      && (form.get("finish") === "" || this.columns.finish_reason?.[row] === form.get("finish"))
      && (!form.has("failed") || this.value("failures", row) > 0)
      && (text === "" || matches(row));
  }

  search() {
    const passes = this.filter();
    this.found = Array.from({ length: this.size }, (_, row) => row).filter(passes);
    if (this.sortBy) this.sort();
    this.first = 0;
    this.draw();
  }

  /** By the chosen column; rows without a value come last either way. */
  sort() {
    const sign = this.descending ? -1 : 1;
    const keys = new Map(this.found.map((row) => [row, this.value(this.sortBy, row)]));
    const bothNumbers = (a, b) => typeof a === "number" && typeof b === "number";
    const compare = (a, b) => (bothNumbers(a, b) ? a - b : String(a).localeCompare(String(b)));
    this.found.sort((a, b) => {
      const [x, y] = [keys.get(a), keys.get(b)];
      if (x == null || y == null) return (x == null) - (y == null) || a - b;
      return sign * compare(x, y) || a - b;
    });
  }

  sortOn(name) {
    const highestFirst = ["reward", "advantage", "tokens", "failures"].includes(name);
    this.descending = this.sortBy === name ? !this.descending : highestFirst;
    this.sortBy = name;
    this.search();
    byId("rows").querySelector(`th[aria-sort] button`).focus();
  }

  turn(by) {
    this.first = Math.max(0, Math.min(this.first + by, this.found.length - 1));
    this.draw();
  }

  draw() {
    const header = (name) => {
      const sorted = name === this.sortBy ? (this.descending ? "descending" : "ascending") : null;
      const button = el("button", { type: "button" }, name.replace("rewards/", "").replace("_reason", ""));
      button.addEventListener("click", () => this.sortOn(name));
      return el("th", { scope: "col", class: this.columnClass(name), "aria-sort": sorted }, button);
    };
    const { tHead, tBodies } = byId("rows");
    tHead.replaceChildren(el("tr", {}, ...this.shown.map(header)));
    const rows = this.found.slice(this.first, this.first + PER_PAGE);
    tBodies[0].replaceChildren(...rows.map((row, i) => this.tableRow(row, this.first + i)));
    const last = Math.min(this.first + PER_PAGE, this.found.length);
    byId("page").textContent = this.found.length
      ? `${short(this.first + 1)}–${short(last)} of ${short(this.found.length)}`
      : this.size ? "No completion passes these filters." : "This run has no completions to show.";
    byId("previous").disabled = this.first === 0;
    byId("next").disabled = last >= this.found.length;
  }

  columnClass(name) {
    const text = ["prompt", "completion", "answer", "run", "finish_reason"].includes(name);
    return `${text ? "text" : "number"} ${name.replace(/\W/g, "-")}`;
  }

  tableRow(row, position) {
    const cell = (name) => {
      const value = this.value(name, row);
      const text = typeof value === "string" && value.length > CLIPPED ? `${value.slice(0, CLIPPED)}…` : short(value);
      return el("td", { class: this.columnClass(name) }, text);
    };
    return el("tr", { tabindex: 0, "data-position": position }, ...this.shown.map(cell));
  }

  positionOf(element) {
    return Number(element.closest("tr").dataset.position);
  }

  /** Put the keyboard on a row, turning the page where it is on another. */
  focus(position) {
    if (!(position >= 0 && position < this.found.length)) return;
    const first = position - (position % PER_PAGE);
    if (first !== this.first) {
      this.first = first;
      this.draw();
    }
    byId("rows").querySelector(`tr[data-position="${position}"]`)?.focus();
  }

  move(by) {
    if (by && this.found[this.position + by] !== undefined) this.open(this.position + by);
  }

  open(position) {
    this.position = position;
    const row = this.found[position];
    const step = this.columns.step?.[row];
    const of = this.page.runs.length > 1 ? ` of ${this.value("run", row)}` : "";
    byId("opened-title").textContent = `Step ${short(step)}${of}`;
    byId("opened-body").replaceChildren(...this.details(row));
    byId("earlier").disabled = position === 0;
    byId("later").disabled = position === this.found.length - 1;
    if (!byId("opened").open) byId("opened").showModal();
    byId("opened").scrollTop = 0;
  }

  /** Everything that is known of one completion. */
  details(row) {
    const texts = ["prompt", "completion", "answer"].filter((name) => this.value(name, row) != null);
    const block = (name) => [el("h3", {}, name), el("pre", { class: name }, this.value(name, row))];
    const elsewhere = ["prompt", "completion", "answer", "failures", "run"];
    const numbers = Object.keys(this.columns).filter((name) => !elsewhere.includes(name));
    const pair = (name) => el("div", {}, el("dt", {}, name), el("dd", {}, short(this.value(name, row))));
    const failures = this.columns.failures?.[row] ?? [];
    return [...texts.flatMap(block), el("dl", {}, ...numbers.map(pair)),
      ...failures.map((reason) => el("p", { class: "note" }, `Failed: ${reason}`)), ...this.siblings(row)];
  }

  /** The other completions of this prompt at this step, where the page holds them. */
  siblings(row) {
    const same = (name, other) => this.columns[name]?.[other] === this.columns[name]?.[row];
    if (this.columns.prompt_id?.[row] == null) return [];
    const others = Array.from({ length: this.size }, (_, i) => i)
      .filter((other) => other !== row && ["run", "step", "prompt_id"].every((name) => same(name, other)));
    if (!others.length) return [];
    return [el("h3", {}, "The group's other completions"), el("ol", { class: "siblings" }, ...others.map((other) =>
      el("li", {}, el("b", {}, short(this.value("reward", other))), el("pre", {}, this.value("completion", other)))))];
  }
}
