"use strict";
const part = id => document.getElementById(id);
const stage = part("stage"), picture = part("picture"), numbers = [...document.querySelectorAll("#box input")];
const maxBytes = Number(document.body.dataset.maxBytes);
const HINT = "Click a person to see their joints, drag a corner to change their box, drag elsewhere to add one.";

let photo = null;    // {file, name}: it stays here, and is sent with every question
let answer = null;   // of the server to the photograph: its size, people and files
let chosen = null;   // number of the person whose joints are shown
let asked = 0;       // questions so far: only the last one's answer is shown

// ------------------------------------------------------------------------------------------------------------- asking

async function post(path, query) {
  const headers = { "Content-Type": photo.file.type.startsWith("image/") ? photo.file.type : "image/unknown" };
  const response = await fetch(`${path}?${new URLSearchParams({ name: photo.name, ...query })}`,
    { method: "POST", headers, body: photo.file });
  const content = await response.json();
  if (!response.ok) throw new Error(content.error);
  return content;
}

function sent(people) {
  return { people: JSON.stringify(people.map(({ number, kind, box, detection }) => ({ number, kind, box, detection }))) };
}

async function ask(people, choose) {
  const number = ++asked;
  stage.classList.add("waiting");
  part("status").textContent = people ? "Finding the pose …" : "Looking for people …";
  try {
    const found = await post("people", people ? sent(people) : {});
    if (number === asked) show(found, choose);
  } catch (error) {
    if (number === asked) complain(error);
  }
}

function complain(error) {
  stage.classList.remove("waiting");
  const sentence = error instanceof TypeError ? "The server does not answer; is it still running?" : error.message;
  part("problem").textContent = sentence;
  part("problem").hidden = false;
  part("status").textContent = "";
  if (answer) draw(); else stage.hidden = true;
}

function take(file) {
  if (!file) return;
  ++asked;
  [photo, answer, chosen] = [{ file, name: file.name }, null, null];
  for (const id of ["tools", "downloads", "person", "maps", "problem"]) part(id).hidden = true;
  stage.querySelectorAll(".box").forEach(box => box.remove());
  if (file.size > maxBytes)
    return complain(new Error(`${file.name} has ${(file.size / 1e6).toFixed(1)} MB, more than the ${maxBytes / 1e6} MB that this page takes.`));
  stage.hidden = false;
  picture.src = URL.createObjectURL(file);  // the photograph at once, its poses when they are there
  ask(null);
}

// ------------------------------------------------------------------------------------------------------------ showing

function show(found, choose) {
  answer = found;
  picture.src = found.picture;
  stage.classList.remove("waiting");
  for (const id of ["stage", "tools", "downloads"]) part(id).hidden = false;
  part("problem").hidden = true;
  part("status").textContent = said(found.people);
  save("json", `${stem()}.poses.json`, new Blob([found.files.json], { type: "application/json" }));
  save("csv", `${stem()}.poses.csv`, new Blob([found.files.csv], { type: "text/csv" }));
  Object.assign(part("overlay"), { href: found.picture, download: `${stem()}.poses.jpg` });
  const there = number => found.people.some(person => person.number === number);
  pick([choose, chosen, found.people[0]?.number].find(there) ?? null);
}

function said(people) {
  if (!people.length) return `Nobody was found in ${answer.name}. Drag a box about a person, or take the whole picture.`;
  if (people[0].kind === "whole") return "The whole picture is taken as one person. Drag a box about a person to add one.";
  return `${people.length === 1 ? "One person." : people.length + " people."} ${HINT}`;
}

const stem = () => photo.name.replace(/\.[^.]*$/, "");

function save(id, name, blob) {
  URL.revokeObjectURL(part(id).href);
  Object.assign(part(id), { href: URL.createObjectURL(blob), download: name });
}

const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

function element(tag, text, style) {
  const made = document.createElement(tag);
  made.textContent = text ?? "";
  Object.assign(made.style, style);
  return made;
}

const current = () => answer?.people.find(person => person.number === chosen);

function pick(number) {
  chosen = number;
  draw();
  const person = current();
  part("person").hidden = part("maps").hidden = !person;
  if (!person) return;
  part("people").replaceChildren(...answer.people.map(chip));
  const missing = value => value === null || value === undefined;
  const rows = person.joints.map(joint => {
    const row = element("tr"), name = element("td"), sure = element("td");
    name.append(element("i", "", { background: css(joint.color) }), joint.name + (joint.derived ? " *" : ""));
    const meter = Object.assign(element("meter"), { value: joint.confidence ?? 0 });
    if (!missing(joint.confidence) && !missing(joint.x)) sure.append(meter, ` ${joint.confidence.toFixed(2)}`);
    const place = value => element("td", missing(value) ? "–" : value.toFixed(Math.max(answer.width, answer.height) < 1000 ? 1 : 0));
    row.append(name, sure, element("td", joint.probability.toFixed(2)), place(joint.x), place(joint.y));
    return row;
  });
  part("joints").replaceChildren(...rows);
  part("derived").hidden = !person.joints.some(joint => joint.derived);
  showMaps(person);
}

function chip(person) {
  const button = Object.assign(element("button"), { type: "button" });
  button.append(element("i", "", { background: css(person.color) }), `Person ${person.number}`);
  button.setAttribute("aria-pressed", person.number === chosen);
  button.onclick = () => pick(person.number);
  return button;
}

function draw(changed) {
  stage.querySelectorAll(".box").forEach(box => box.remove());
  const people = answer.people.filter(person => person.number !== changed?.number).concat(changed ?? []);
  for (const person of people) {
    const [x0, y0, x1, y1] = person.box, color = css(person.color);
    const box = element("div", "", {
      left: 100 * x0 / answer.width + "%", width: 100 * (x1 - x0) / answer.width + "%",
      top: 100 * y0 / answer.height + "%", height: 100 * (y1 - y0) / answer.height + "%", borderColor: color });
    box.className = "box";
    box.classList.toggle("chosen", person.number === (changed ?? current())?.number);
    box.append(...[0, 1, 2, 3].map(corner => {
      const handle = element("i");
      handle.dataset.corner = corner;
      return handle;
    }));
    if (people.length === 1 || person === changed)  // the overlay has the others' numbers
      box.append(element("b", person.number, { background: color }));
    stage.append(box);
  }
  const shown = changed ?? current();
  numbers.forEach((input, i) => { input.value = shown ? Math.round(10 * shown.box[i]) / 10 : ""; });
}

async function showMaps(person) {
  const number = asked;
  try {
    const maps = await post("maps", sent([person]));
    if (number !== asked || person.number !== chosen) return;
    const figure = ({ name, picture }) => {
      const made = element("figure"), image = Object.assign(element("img"), { src: picture, alt: `Map of ${name}` });
      made.append(image, element("figcaption", name));
      return made;
    };
    const all = figure({ name: "all together", picture: maps.all });
    all.className = "all";
    part("parts").replaceChildren(all, ...maps.parts.map(figure));
    part("context").replaceChildren(...maps.context.map(figure));
    part("contexts").hidden = !maps.context.length;
  } catch (error) {
    if (number === asked) complain(error);
  }
}

// ------------------------------------------------------------------------------------------------------------ editing

function change(person, box) {
  return { ...person, box, detection: null, kind: person.kind === "whole" ? "drawn" : person.kind };
}

function replaceBox(person) {
  const known = answer.people.some(other => other.number === person.number);
  const all = answer.people.map(other => other.number === person.number ? person : other);
  ask(known ? all : [...boxed(), person], person.number);
}

// Who has a box of their own: a new one takes the place of the whole picture's.
const boxed = () => answer.people.filter(person => person.kind !== "whole");

function newcomer(box) {
  const taken = new Set(boxed().map(person => person.number));
  let number = 0;
  while (taken.has(number)) ++number;
  return { number, kind: "drawn", box, detection: null, color: [255, 255, 255] };
}

const whole = () => [0, 0, answer.width, answer.height];
part("everybody").onclick = () => ask(null);
part("whole").onclick = () => ask([{ number: 0, kind: "whole", box: whole() }], 0);
part("add").onclick = () => replaceBox(newcomer(whole().map((side, i) => i < 2 ? whole()[i + 2] / 4 : 3 * side / 4)));
part("remove").onclick = () => ask(answer.people.filter(person => person.number !== chosen));
for (const input of numbers)
  input.onchange = () => {
    const box = numbers.map(({ value }) => value.trim() === "" ? null : Number(value));
    if (current()) replaceBox(change(current(), box));
  };

part("file").onchange = ({ target }) => { take(target.files[0]); target.value = ""; };
for (const kind of ["dragover", "dragleave", "drop"])
  document.addEventListener(kind, event => {
    event.preventDefault();
    part("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files[0]);
  });

// A drag on the picture: from a corner it resizes the chosen box, from within it moves it, elsewhere it draws a new one.
let drag = null;

function place(event) {
  const area = picture.getBoundingClientRect(), inside = value => Math.min(1, Math.max(0, value));
  return [Math.round(answer.width * inside((event.clientX - area.left) / area.width)),
    Math.round(answer.height * inside((event.clientY - area.top) / area.height))];
}

const within = ([x, y], [x0, y0, x1, y1]) => x >= x0 && x <= x1 && y >= y0 && y <= y1;

stage.onpointerdown = event => {
  if (!answer || event.button) return;
  const start = place(event), corner = event.target.dataset.corner;
  const person = current(), moves = person && (corner !== undefined || person.kind !== "whole" && within(start, person.box));
  drag = { start, corner, person: moves ? person : null, from: [event.clientX, event.clientY], box: null };
  stage.setPointerCapture(event.pointerId);
};
stage.onpointermove = event => {
  if (!drag) return;
  const far = Math.hypot(event.clientX - drag.from[0], event.clientY - drag.from[1]) > 4;
  if (!far && !drag.box) return;
  drag.box = dragged(drag, place(event));
  draw(change(drag.person ?? newcomer(drag.box), drag.box));
};
stage.onpointercancel = () => { drag = null; draw(); };
stage.onpointerup = event => {
  const done = drag;
  drag = null;
  if (!done) return;
  if (!done.box) return pickAt(place(event));
  replaceBox(done.person ? change(done.person, done.box) : newcomer(done.box));
};

function dragged({ start, corner, person }, [x, y]) {
  if (!person) return [Math.min(start[0], x), Math.min(start[1], y), Math.max(start[0], x), Math.max(start[1], y)];
  const [x0, y0, x1, y1] = person.box;
  if (corner === undefined) {
    const dx = Math.max(-x0, Math.min(answer.width - x1, x - start[0]));
    const dy = Math.max(-y0, Math.min(answer.height - y1, y - start[1]));
    return [x0 + dx, y0 + dy, x1 + dx, y1 + dy];
  }
  const left = corner === "0" || corner === "3", top = corner === "0" || corner === "1";
  const ends = (moved, fixed) => [Math.min(moved, fixed), Math.max(moved, fixed)];
  const [h, v] = [ends(x, left ? x1 : x0), ends(y, top ? y1 : y0)];
  return [h[0], v[0], h[1], v[1]];
}

// Of the people in whose box the click is, the one with the nearest joint.
function pickAt(point) {
  const distance = person => Math.min(...person.joints.filter(joint => joint.x !== null)
    .map(joint => Math.hypot(joint.x - point[0], joint.y - point[1])));
  const [nearest] = answer.people.filter(person => within(point, person.box)).sort((a, b) => distance(a) - distance(b));
  if (nearest) pick(nearest.number);
}

// ---------------------------------------------------------------------------------------------------- the example first

(async () => {
  const [file, found] = await Promise.all([fetch("example.jpg").then(r => r.blob()), fetch("example").then(r => r.json())]);
  if (photo) return;  // somebody was faster
  photo = { file, name: found.name };
  show(found);
})().catch(complain);
