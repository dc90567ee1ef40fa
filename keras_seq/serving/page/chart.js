// The chart of a forecast: the past, the forecast, and the band between its outer quantiles.
import { element } from "./show.js";

const SIZE = { width: 800, height: 280, left: 50, right: 10, top: 10, bottom: 25 };

function drawn(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Columns of a CSV text by name, as numbers, for the chart alone.
function columns(text) {
  const lines = text.trim().split(/\r?\n/);
  const delimiter = [";", "\t", ","].find((sign) => lines[0].includes(sign)) ?? ",";
  const rows = lines.slice(1).map((line) => line.split(delimiter));
  const names = lines[0].split(delimiter).map((name) => name.trim());
  const number = (cell) => Number(delimiter === "," ? (cell ?? "").trim() : (cell ?? "").trim().replace(",", "."));
  return Object.fromEntries(names.map((name, place) => [name, rows.map((row) => number(row[place]))]));
}

// The columns of the answer for a target, in the order of the quantiles.
function columnsOf(task, result, target) {
  const count = Math.max(1, task.quantiles.length);
  const first = task.targets.indexOf(target) * count;
  return Array.from({ length: count }, (_, place) => result.values.map((row) => row[first + place]));
}

export function forecast(task, result, text) {
  const past = columns(text);
  const charts = task.targets.map((target) => chart(task, target, past[target] ?? [], columnsOf(task, result, target)));
  const head = element("tr", {}, ...["Time", ...result.names].map((name) => element("th", { scope: "col" }, name)));
  const rows = result.values.map((row, place) => {
    const time = String(result.times?.[place] ?? `+${place + 1}`);
    return element("tr", {}, element("th", { scope: "row" }, time), ...row.map((x) => element("td", {}, x.toPrecision(5))));
  });
  const table = element("table", {}, element("caption", {}, "Forecast"), head, ...rows);
  const scroll = { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of the forecast" };
  return element("div", {}, ...charts, element("div", scroll, table));
}

function chart(task, target, whole, coming) {
  SIZE.width = Math.min(800, document.body.clientWidth - 34);
  const past = whole.slice(-2 * Math.max(task.look_back, 10)).filter(Number.isFinite);
  const values = [...past, ...coming.flat()];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const steps = past.length + coming[0].length - 1;
  const x = (step) => SIZE.left + (step / Math.max(1, steps)) * (SIZE.width - SIZE.left - SIZE.right);
  const span = high - low || 1;
  const y = (value) => SIZE.height - SIZE.bottom - ((value - low) / span) * (SIZE.height - SIZE.top - SIZE.bottom);
  const line = (row, start) => row.map((value, step) => `${x(start + step).toFixed(1)},${y(value).toFixed(1)}`);
  const parts = [];
  if (coming.length > 1) {
    const edge = [...line(coming[0], past.length), ...line(coming.at(-1), past.length).reverse()];
    parts.push(drawn("polygon", { class: "band", points: edge.join(" ") }));
  }
  parts.push(drawn("polyline", { class: "past", points: line(past, 0).join(" ") }));
  const middle = coming[Math.floor(coming.length / 2)];
  const joined = past.length ? [past.at(-1), ...middle] : middle;
  const start = past.length ? past.length - 1 : 0;
  parts.push(drawn("polyline", { class: "coming", points: line(joined, start).join(" ") }));
  for (const value of [low, high]) {
    parts.push(drawn("text", { x: SIZE.left - 5, y: y(value) + 4, "text-anchor": "end" }, value.toPrecision(3)));
  }
  const label = `${target}: past and forecast${coming.length > 1 ? ", with the band of its quantiles" : ""}`;
  parts.push(drawn("text", { x: SIZE.left, y: SIZE.height - 6 }, label));
  const box = { viewBox: `0 0 ${SIZE.width} ${SIZE.height}`, role: "img", "aria-label": label };
  return drawn("svg", box, ...parts);
}
