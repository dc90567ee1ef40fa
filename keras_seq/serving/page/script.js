// The page of keras-seq serve: a form for each task, its answer, and what explains it.
import { element, shown } from "./show.js";
import { asWav, recorder } from "./sound.js";

const byId = (id) => document.getElementById(id);
const NUMBERS = {
  num_beams: "Beams",
  num_return: "Results",
  max_length: "Longest output",
  temperature: "Temperature",
  top_p: "Top p",
};
const HELP = {
  text: "One text a line. Each line is an input.",
  words: "One text a line, its words between spaces.",
  series: "A CSV file with a header.",
  array: "JSON: an array of numbers.",
  tensors: "JSON: an array, or an object with arrays by name.",
};
const EXAMPLES = { text: "A man rides a horse.", words: "A man rides a horse." };

let tasks = [];
let recording = null;

const task = () => tasks.find((one) => one.model === byId("model").value);

async function call(path, options = {}) {
  const token = byId("token").value;
  const headers = { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer;
  byId("token-row").hidden = byId("token-row").hidden && answer.status !== 401;
  const { error } = await answer.json().catch(() => ({ error: answer.statusText }));
  throw new Error(error);
}

async function post(path, content) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(content) };
  return call(path, options);
}

function say(message, bad = false) {
  byId("status").textContent = message;
  byId("status").className = bad ? "error" : "";
}

async function load() {
  tasks = (await (await call("/v1/tasks")).json()).tasks;
  byId("model").replaceChildren(...tasks.map((one) => element("option", { value: one.model }, one.model)));
  choose();
}

function choose() {
  const { task: kind, reads, version, options, streams } = task();
  byId("about").textContent = `Task: ${kind}. Version ${version}.`;
  for (const part of document.querySelectorAll("[data-for]")) part.hidden = !part.dataset.for.split(" ").includes(reads);
  byId("input-label").textContent = reads === "series" ? "Series (CSV)" : "Input";
  byId("input-help").textContent = reads === "series" ? seriesHelp() : (HELP[reads] ?? "");
  byId("input").value = EXAMPLES[reads] ?? "";
  const fields = Object.keys(NUMBERS).filter((name) => options.includes(name));
  byId("options").hidden = fields.length === 0;
  byId("options").replaceChildren(element("legend", {}, "Options"), ...fields.map(optionField));
  byId("streaming").hidden = !streams;
  byId("stream").checked = streams && kind === "generation";
  byId("answer").replaceChildren();
  recording = null;
  byId("recorded").textContent = "";
  say("");
}

function seriesHelp() {
  const { columns, look_back, horizon } = task();
  return `${HELP.series} Columns: ${columns.join(", ")}, at least ${look_back} rows. ${horizon} rows are forecast.`;
}

function optionField(name) {
  const input = element("input", { id: `option-${name}`, type: "number", step: "any", min: "0" });
  return element("div", {}, element("label", { for: input.id }, NUMBERS[name]), " ", input);
}

function options() {
  const found = {};
  for (const name of Object.keys(NUMBERS)) {
    const value = byId(`option-${name}`)?.value;
    if (value) found[name] = Number(value);
  }
  return found;
}

async function request() {
  const { reads } = task();
  if (reads === "audio") {
    const file = byId("sound").files[0];
    if (!file && !recording) throw new Error("Choose a sound file, or record one.");
    const body = await asWav(recording ?? file, task().sampling_rate ?? 8000);
    return { headers: { "content-type": "audio/wav" }, body };
  }
  const text = byId("input").value;
  const content = { options: options() };
  if (reads === "series") content.input = text;
  else if (reads === "text" || reads === "words") content.inputs = text.split("\n").filter((line) => line.trim());
  else content.input = JSON.parse(text);
  if (content.inputs?.length === 0) throw new Error("Write a text first.");
  return { headers: { "content-type": "application/json" }, body: JSON.stringify(content) };
}

async function send(event) {
  event.preventDefault();
  const path = `/v1/tasks/${encodeURIComponent(task().model)}`;
  say("The model computes.");
  byId("send").disabled = true;
  byId("answer").replaceChildren();
  try {
    const started = performance.now();
    if (!byId("streaming").hidden && byId("stream").checked) await stream(path);
    else {
      const given = await request();
      const answer = await (await call(path, { method: "POST", ...given })).json();
      const results = answer.results ?? [answer.result];
      const inputs = task().reads === "audio" ? [] : byId("input").value.split("\n").filter((line) => line.trim());
      const attend = (input, output) => post(`${path}/attention`, { input, output }).then((found) => found.json());
      for (const [place, result] of results.entries()) {
        byId("answer").append(await shown(task(), result, inputs[place], byId("input").value, attend));
      }
    }
    say(`Answered in ${Math.round(performance.now() - started)} ms.`);
  } catch (error) {
    say(error.message, true);
  } finally {
    byId("send").disabled = false;
  }
}

async function stream(path) {
  const given = options();
  for (const name of ["num_beams", "num_return"]) delete given[name];
  if (given.temperature || given.top_p) given.search = "sampling";
  const input = byId("input").value;
  const answer = await post(path, { input, stream: true, options: given });
  const place = element("p", { class: "text" }, task().task === "generation" ? input : "");
  byId("answer").append(place);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const content = JSON.parse(event.slice(event.indexOf("data: ") + 6));
      if (content.error) throw new Error(content.error);
      place.append(content.piece ?? "");
    }
  }
}

const record = recorder(byId("record"), byId("recorded"), (sound) => {
  recording = sound;
});
byId("record").addEventListener("click", () => record().catch((error) => say(error.message, true)));
byId("sound").addEventListener("change", () => {
  recording = null;
});
byId("model").addEventListener("change", choose);
byId("token").addEventListener("change", () => load().then(() => say(""), (error) => say(error.message, true)));
byId("ask").addEventListener("submit", send);
byId("input").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("ask").requestSubmit();
});
load().catch((error) => say(error.message, true));
