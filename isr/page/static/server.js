// The way to the server: questions, files, and the state once a second.

import { tell } from "./element.js";
import { said, words } from "./words.js";

const PACE = 1000; // ms between two looks at the state
const AT_ONCE = 2; // files that are sent at a time

export async function ask(method, path, content) {
  const answer = await fetch(path, {
    method,
    body: content === undefined ? undefined : JSON.stringify(content),
    credentials: "same-origin",
  });
  const kind = answer.headers.get("content-type") || "";
  const told = kind.startsWith("application/json") ? await answer.json() : { error: await answer.text() };
  if (!answer.ok) throw new Error(said(told.error) || words.failedToAsk);
  return told;
}

export async function order(method, path, content) {
  // A question whose refusal is told to the reader.
  try {
    const told = await ask(method, path, content);
    soon();
    return told;
  } catch (error) {
    tell(error.message);
    return null;
  }
}

function sendOne(file, name) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("PUT", `/upload?name=${encodeURIComponent(name)}`);
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) tell(words.sending(file.name, Math.floor((100 * event.loaded) / event.total)));
    };
    request.onerror = () => failed(new Error(words.lost));
    request.onload = () => {
      if (request.status === 200) return done();
      let why = words.failedToAsk;
      try {
        why = said(JSON.parse(request.responseText).error);
      } catch { /* what is no JSON has no reason to show */ }
      failed(new Error(why));
    };
    request.send(file);
  });
}

export async function send(files) {
  // `files`: pairs of a File and the name that it goes by, with its folders.
  const waiting = [...files];
  const refused = [];
  let count = 0;
  const line = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      try {
        await sendOne(...next);
        count += 1;
        soon();
      } catch (error) {
        refused.push(words.notAdded(next[1], error.message));
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, line));
  tell([count ? words.added(count) : "", ...refused.slice(0, 3)].filter(Boolean).join(". "));
}

// The state, kept up to date by what changed.

export const state = { items: new Map(), queue: {}, settings: {}, count: 0, lost: false };
const readers = new Set();
let boot = "";
let now = 0;
let timer = 0;
let looking = false;
let again = false;

export function watch(reader) {
  readers.add(reader);
}

export function soon() {
  if (looking) again = true;
  else {
    clearTimeout(timer);
    timer = setTimeout(look, 0);
  }
}

export async function look() {
  clearTimeout(timer);
  looking = true;
  let more = false;
  try {
    const told = await ask("GET", `/state?since=${now}&boot=${boot}`);
    if (told.boot !== boot) state.items.clear();
    for (const id of told.gone) state.items.delete(id);
    for (const item of told.items) state.items.set(item.id, item);
    ({ boot, now, more } = told);
    Object.assign(state, { queue: told.queue, settings: told.settings, count: told.count, lost: false });
  } catch {
    state.lost = true;
  }
  looking = false;
  if (!more) for (const reader of readers) reader(state);
  timer = setTimeout(look, more || again ? 0 : PACE);
  again = false;
}

export function inOrder() {
  return [...state.items.values()].sort((one, other) => one.place - other.place);
}
