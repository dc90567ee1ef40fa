// Results of each task as elements of the page.
import { forecast } from "./chart.js";

const COLORS = ["#0b6fb8", "#b8580b", "#2c8a3d", "#a83279", "#8a7a0c", "#6a4fc4", "#0f8a8a", "#b32d2d"];

// An element with attributes and children. Texts become text, never markup.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// The element for a result. `attend(input, output)` gives the attention weights.
export async function shown(task, result, input, whole, attend) {
  if (result.error) return element("p", { class: "error" }, result.error);
  if (result.tags) return tagged(result);
  if (result.values) return forecast(task, result, whole);
  if (result.probabilities) return classified(result);
  if (result.text !== undefined || result.texts) return generated(task, result, input, attend);
  const answers = Object.entries(result);
  if (answers.length && answers.every(([, one]) => one?.probabilities)) {
    return element("div", {}, ...answers.flatMap(([name, one]) => [element("h3", {}, name), classified(one)]));
  }
  return element("pre", { class: "scroll", tabindex: "0" }, JSON.stringify(result));
}

function classified({ label, probabilities }) {
  const rows = Object.entries(probabilities).sort((one, other) => other[1] - one[1]);
  return element("div", {}, element("p", { class: "text" }, label), ...rows.map(([name, share]) => bar(name, share)));
}

function bar(name, share) {
  const inner = element("span");
  inner.style.width = `${100 * share}%`;
  const outer = element("div", { class: "bar", "aria-hidden": "true" }, inner);
  return element("div", { class: "row" }, element("span", {}, name), outer, `${(100 * share).toFixed(1)}%`);
}

function tagged({ words, tags }) {
  const kinds = [...new Set(tags.map((tag) => tag.replace(/^[A-Z]-/, "")))].sort();
  const parts = words.map((word, place) => {
    const tag = tags[place];
    const part = element("span", { class: "word tagged" }, word, element("small", {}, tag));
    part.style.setProperty("--tag", COLORS[kinds.indexOf(tag.replace(/^[A-Z]-/, "")) % COLORS.length]);
    return part;
  });
  return element("div", { class: "words" }, ...parts);
}

async function generated(task, result, input, attend) {
  const texts = result.texts ?? [result.text];
  const scores = result.scores ?? [result.score];
  const parts = texts.map((text, place) => {
    const score = scores[place] === null || scores[place] === undefined ? "" : `Score ${scores[place].toFixed(3)}`;
    return element("div", {}, element("p", { class: "text" }, text || "(empty)"), element("small", {}, score));
  });
  if (task.attention && input && texts[0]) parts.push(attentionMap(await attend(input, texts[0])));
  return element("div", {}, ...parts);
}

const piece = (token) => token.replaceAll("\u2581", "") || "\u2581";

// Words of the output as buttons. Pointing at one, or focusing it, shows how much each word of the source counted.
function attentionMap({ weights, source, target }) {
  const sources = source.map((token) => element("span", { class: "word" }, piece(token)));
  const cells = weights.map((row) => row.map((weight) => heat(element("td", { title: weight.toFixed(2) }), weight)));
  const note = element("p", { role: "status" });
  const point = (place) => {
    weights[place].forEach((weight, column) => heat(sources[column], weight));
    cells.forEach((row, number) => row.forEach((cell) => cell.classList.toggle("pointed", number === place)));
    const best = weights[place].indexOf(Math.max(...weights[place]));
    note.textContent = `${piece(target[place])}: mostly ${piece(source[best])} (${(100 * weights[place][best]).toFixed(0)}%)`;
  };
  const targets = target.map((token, place) => {
    const button = element("button", { type: "button", class: "word" }, piece(token));
    for (const kind of ["mouseenter", "focus"]) button.addEventListener(kind, () => point(place));
    return button;
  });
  const head = element("tr", {}, element("td"), ...source.map((token) => element("th", { scope: "col" }, piece(token))));
  const rows = cells.map((row, place) =>
    element("tr", {}, element("th", { scope: "row" }, piece(target[place])), ...row),
  );
  const table = element("table", { class: "map" }, element("caption", {}, "Attention"), head, ...rows);
  return element(
    "div",
    {},
    element("h3", {}, "Where each word comes from"),
    element("div", { class: "words" }, ...targets),
    element("div", { class: "words" }, ...sources),
    note,
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Attention map" }, table),
  );
}

function heat(part, weight) {
  part.style.backgroundColor = `rgb(var(--heat) / ${Math.round(70 * weight)}%)`;
  return part;
}
