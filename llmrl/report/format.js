// Elements and numbers. Text from a run only ever becomes a text node, never markup.

/** An element with attributes and children; strings become text. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null).map((c) => (c instanceof Node ? c : String(c))));
  return element;
}

const byId = (id) => document.getElementById(id);

/** A number in at most four significant digits. */
function short(value) {
  if (value == null) return "–";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2).replace("e+", "e");
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return size >= 1000 ? Math.round(value).toLocaleString("en") : Number(value.toPrecision(4)).toString();
}

/** Seconds as 35 s, 4 min 10 s or 3 h 20 min. */
function duration(seconds) {
  if (seconds == null) return "–";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** A count as 1,234, 56.7k or 8.9M. */
function count(value) {
  if (value == null) return "–";
  const compact = { notation: "compact", maximumFractionDigits: 1 };
  return value.toLocaleString("en", Math.abs(value) < 1e4 ? {} : compact);
}

const fixed = (value) => (typeof value === "number" ? value.toFixed(3) : short(value));
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);
