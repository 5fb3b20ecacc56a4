// The way to the server: questions, files, and the state once a second.

import { tell } from "./element.js";
import { said, words } from "./words.js";

const PACE = 1000; // ms between two looks at the state
const AT_ONCE = 2; // files that are sent at a time

const LONGEST = 20_000; // ms that a look at the state may take

export async function ask(method, path, content, signal) {
  let answer, told;
  try {
    answer = await fetch(path, {
      method,
      body: content === undefined ? undefined : JSON.stringify(content),
      credentials: "same-origin",
      // What was chosen arrives, even where the page is closed at once.
      keepalive: method !== "GET",
      signal,
    });
    const kind = answer.headers.get("content-type") || "";
    told = kind.startsWith("application/json") ? await answer.json() : {};
  } catch {
    throw new Error(words.lost);
  }
  // The token of an earlier start.
  if (answer.status === 403 && !told.error) throw new Error(words.old);
  if (!answer.ok) throw new Error(said(told.error) || words.failedToAsk);
  return told;
}

export async function order(method, path, content) {
  // A question that changes something, whose refusal is told to the reader.
  try {
    const told = await ask(method, path, content);
    if (told.now) least = Math.max(least, told.now);
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
  const said = refused.slice(0, 3);
  if (count) said.unshift(words.added(count));
  if (refused.length > 3) said.push(words.notAddedEither(refused.length - 3));
  tell(files.length ? said.join(". ") : words.reasons.emptyFolder);
}

// The state, kept up to date by what changed.

// `boot` is empty until it is known; `lost` says why the server did not answer the last time, or nothing.
export const state = { items: new Map(), queue: {}, settings: {}, count: 0, boot: "", lost: "" };
const readers = new Set();
let now = 0;
// What was ordered shows from here on; an earlier state, told late, is not shown.
let least = 0;
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
    const told = await ask("GET", `/state?since=${now}&boot=${state.boot}`, undefined, AbortSignal.timeout(LONGEST));
    if (told.boot !== state.boot) {
      // Another server, which counts anew.
      state.items.clear();
      least = 0;
    }
    for (const id of told.gone) state.items.delete(id);
    for (const item of told.items) state.items.set(item.id, item);
    now = told.now;
    more = told.more || now < least;
    const { boot, queue, settings, count } = told;
    Object.assign(state, { boot, queue, settings, count, lost: "" });
  } catch (error) {
    state.lost = error.message;
  }
  looking = false;
  timer = setTimeout(look, more || again ? 0 : PACE);
  again = false;
  if (!more) for (const reader of readers) reader(state);
}

export function inOrder() {
  return [...state.items.values()].sort((one, other) => one.place - other.place);
}
