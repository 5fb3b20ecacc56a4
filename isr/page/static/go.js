// GO: start, pause and stop; the list of files, each with its state; what is left to wait.

import { make, option, tell } from "./element.js";
import { OTHERS } from "./how.js";
import { ask, inOrder, order, watch } from "./server.js";
import { clock, duration, said, words } from "./words.js";

const size = ([width, height]) => `${width}×${height}`;

class Go extends HTMLElement {
  connectedCallback() {
    const button = (name, act, more = {}) => make("button", { type: "button", onclick: act, ...more }, words[name]);
    this.start = button("start", () => this.begin(), { class: "main" });
    this.pause = button("pause", () => order("POST", "/go", { do: "pause" }));
    this.finish = button("stopAfter", () => order("POST", "/go", { do: "finish" }));
    this.stop = button("stopNow", () => order("POST", "/go", { do: "stop" }));
    this.all = make("a", { class: "button", href: "/results.zip", download: "larger.zip" }, words.saveAll);
    this.clear = button("clear", () => order("POST", "/clear", {}));
    this.summary = make("p", { class: "summary" });
    this.bar = make("progress", { max: 1, value: 0, "aria-label": words.whole, hidden: true });
    this.list = make("div", { class: "list", role: "list", "aria-label": words.list });
    this.empty = make("p", { class: "quiet" }, words.empty);
    this.rows = new Map();
    const notify = make("input", { type: "checkbox", name: "notify" });
    notify.addEventListener("change", async () => {
      if (!notify.checked) return;
      // Sound is allowed to what was clicked.
      this.sound ??= new AudioContext();
      if ((await Notification.requestPermission()) !== "granted") notify.checked = false;
    });
    this.notify = notify;
    this.append(
      make(
        "section",
        { "aria-labelledby": "go" },
        make("h2", { id: "go" }, words.go),
        make("p", { class: "buttons" }, this.start, this.pause, this.finish, this.stop),
        this.bar,
        this.summary,
        this.empty,
        this.list,
        make(
          "p",
          { class: "buttons" },
          this.all,
          this.clear,
          "Notification" in window ? make("label", { class: "check" }, notify, make("span", {}, words.notify)) : null,
        ),
      ),
    );
    watch((state) => this.show(state));
  }

  show(state) {
    const { queue } = state;
    const items = inOrder();
    const of = (name) => items.filter((item) => item.state === name).length;
    const [waiting, finished, failed] = [of("waiting"), of("finished"), of("failed")];
    const busy = queue.current !== null;
    this.start.textContent = queue.paused ? words.goOn : words.start;
    this.start.disabled = !(queue.paused || (waiting && !queue.running));
    this.pause.disabled = !busy || queue.paused || queue.stopping;
    const current = state.items.get(queue.current);
    this.pause.textContent = queue.paused && current?.state === "working" ? words.pausing : words.pause;
    this.finish.disabled = !busy || !queue.running;
    this.stop.disabled = !busy || queue.stopping;
    this.stop.textContent = queue.stopping ? words.stopping : words.stopNow;
    this.all.hidden = finished === 0;
    this.clear.hidden = finished === 0;
    this.empty.hidden = items.length > 0;
    const share = this.share(items, current);
    this.bar.hidden = !busy;
    this.bar.value = share;
    this.summary.textContent = this.sentence(state, items.length, finished, failed, waiting);
    document.title = busy ? `${Math.floor(100 * share)}% · ${words.title}` : words.title;
    mark(busy ? share : null);
    this.draw(items, state);
    if (this.wasBusy && !busy && waiting === 0) {
      tell(words.allDone);
      if (this.notify.checked) {
        chime(this.sound);
        try {
          new Notification(words.allDone, { body: words.counts(finished, items.length, failed) });
        } catch { /* telephones show none of a page */ }
      }
    }
    this.wasBusy = busy;
  }

  async begin() {
    await document.querySelector("isr-how").sent;
    // What is done before the next look was begun nevertheless.
    if (await order("POST", "/go", { do: "start" })) this.wasBusy = true;
  }

  share(items, current) {
    const { done, total } = current?.progress ?? {};
    const over = items.filter((item) => item.state === "finished" || item.state === "failed").length;
    return items.length ? (over + (total ? done / total : 0)) / items.length : 0;
  }

  sentence(state, all, finished, failed, waiting) {
    if (state.lost) return state.lost;
    if (!all) return "";
    const parts = [words.counts(finished, all, failed)];
    const { left, current, paused } = state.queue;
    if (waiting || current) {
      const { all_known: known } = state.queue;
      const unknown = state.queue.measuring ? words.measuring : words.unknownTime;
      if (!known) parts.push(left >= 1 ? words.atLeast(duration(left)) : unknown);
      else if (!current || paused) parts.push(words.takes(duration(left)));
      else parts.push(words.left(duration(left)), words.ready(clock(left)));
    }
    return parts.join(" · ");
  }

  draw(items, { queue, settings }) {
    // What has the focus loses it where its row moves, and where it goes.
    const held = document.activeElement;
    const place = [...this.list.children].findIndex((row) => row.contains(held));
    const known = new Set(items.map((item) => item.id));
    for (const [id, row] of this.rows) {
      if (!known.has(id)) {
        row.remove();
        this.rows.delete(id);
      }
    }
    let last = null;
    for (const item of items) {
      let row = this.rows.get(item.id);
      if (!row) {
        row = new Row(item.id);
        this.rows.set(item.id, row);
      }
      row.show(item, queue, settings);
      const after = last ? last.nextSibling : this.list.firstChild;
      if (after !== row) this.list.insertBefore(row, after);
      last = row;
    }
    if (place < 0 || held === document.activeElement) return;
    const next = this.list.children[Math.min(place, items.length - 1)];
    (held.isConnected ? held : next?.querySelector("button"))?.focus();
  }
}

class Row extends HTMLElement {
  constructor(id) {
    super();
    this.id = `item-${id}`;
    this.item = { id };
    // How often details were asked for, of which the last answer is shown; and what they were asked for by.
    this.turn = 0;
    this.detailed = "";
  }

  connectedCallback() {
    if (this.firstChild) return;
    const { id } = this.item;
    this.setAttribute("role", "listitem");
    this.draggable = true;
    this.image = make("img", { alt: "", width: 72, height: 54, src: `/items/${id}/thumb`, loading: "lazy" });
    for (const name of ["error", "load"]) {
      this.image.addEventListener(name, () => this.image.classList.toggle("none", name === "error"));
    }
    this.name = make("span", { class: "name" });
    this.facts = make("span", { class: "facts" });
    this.bar = make("progress", { max: 1, hidden: true });
    this.doing = make("span", { class: "buttons" });
    this.ownSize = make("div", {});
    this.code = make("code", {});
    this.lines = make("div", {});
    this.more = make("div", { class: "more", hidden: true });
    this.append(
      this.image, make("div", { class: "about" }, this.name, this.facts, this.bar), this.doing, this.more,
    );
    this.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/x-isr", id));
    this.addEventListener("dragover", (event) => {
      if (event.dataTransfer.types.includes("text/x-isr")) event.preventDefault();
    });
    this.addEventListener("drop", (event) => {
      const moved = event.dataTransfer.getData("text/x-isr");
      if (!moved || moved === id) return;
      event.preventDefault();
      order("POST", `/items/${moved}`, { do: "move", before: id });
    });
    this.show(this.item, this.queue ?? {}, this.settings ?? {});
  }

  show(item, queue, settings) {
    Object.assign(this, { item, queue, settings });
    if (!this.firstChild || !item.state) return;
    // One question at a time: where answers take long, the next one would make every one late.
    if (this.detailed && !this.asking && this.detailed !== this.about()) this.explain();
    const text = JSON.stringify([item, queue.paused, queue.stopping]);
    if (text === this.shown) return;
    this.shown = text;
    this.dataset.state = item.state;
    this.name.textContent = item.name;
    this.name.title = item.name;
    this.facts.textContent = this.sentence(item, queue);
    const { done = 0, total = 0 } = item.progress ?? {};
    this.picture(item.progress?.shown ?? 0);
    this.bar.hidden = !item.progress;
    this.bar.setAttribute("aria-label", item.name);
    if (total) this.bar.value = done / total;
    else this.bar.removeAttribute("value");
    this.buttons(item);
  }

  sentence(item, queue) {
    const parts = [];
    let stands = words.states[item.state];
    if (item.progress) {
      const { total, phase } = item.progress;
      if (phase) stands = words.phases[phase];
      else if (!total) stands = words.phases.opening;
      if (queue.paused && item.state === "working") stands = words.pausing;
      if (queue.stopping) stands = words.stopping;
    }
    if (item.state === "waiting" && item.reason) stands = words.states.failed;
    parts.push(item.begun ? words.begun : stands);
    if (item.size_in && item.size_out) parts.push(words.becomes(size(item.size_in), size(item.size_out)));
    if (item.frames) parts.push(words.frames(item.frames));
    if (item.progress?.seconds != null && item.progress.done < item.progress.total) {
      parts.push(words.left(duration(item.progress.seconds)));
    }
    if (item.progress?.pace && item.state === "working" && !queue.paused) {
      parts.push((item.clip ? words.framesPerSecond : words.megapixelsPerSecond)(item.progress.pace));
    }
    if (item.state === "waiting" && item.left != null) parts.push(words.takes(duration(item.left)));
    if (item.state === "finished" && item.seconds >= 1) parts.push(words.took(duration(item.seconds)));
    if (item.pieces) {
      const over = item.state === "finished" || item.state === "failed" || item.progress?.total;
      parts.push(over ? words.inPieces(item.pieces) : words.againInPieces);
    }
    if (item.own_size) parts.push(words.hasOwnSize);
    if (item.part) parts.push(words.keptPart);
    if (item.reason) parts.push(said(item.reason));
    return parts.join(" · ");
  }

  picture(shown) {
    // It sharpens while it is made, and is large enough then for this to be seen.
    const { id } = this.item;
    this.image.classList.toggle("live", shown > 0);
    const src = shown ? `/items/${id}/live?${shown}` : `/items/${id}/thumb`;
    if (this.image.getAttribute("src") !== src) this.image.src = src;
  }

  buttons(item) {
    const act = (name, work, more = {}) =>
      make("button", { type: "button", onclick: work, "aria-label": words.of(words[name] ?? name, item.name), ...more },
        words[name] ?? name);
    // What is known of the item when a button is pressed, not when it was drawn.
    const say = (content) => order("POST", `/items/${item.id}`, content);
    const finished = item.state === "finished";
    const wanted = [];
    if (finished) wanted.push(["compare", () => document.querySelector("isr-compare").show(this.item)]);
    if (item.remedy) wanted.push(["remedy", () => say({ do: "again", changes: remedy(this.item) })]);
    if (item.state === "waiting" && !item.reason) {
      if (item.size_in) wanted.push(["try", () => document.querySelector("isr-try").show(this.item)]);
      wanted.push(["up", () => say({ do: "move", step: -1 })], ["down", () => say({ do: "move", step: 1 })]);
    }
    wanted.push(["details", () => this.details()], ["remove", () => say({ do: "remove" })]);
    const key = JSON.stringify([wanted.map(([name]) => name), item.remedy, item.part, item.name]);
    // Buttons stay where they are, so that the focus does too.
    if (key === this.drawn) return;
    this.drawn = key;
    const held = this.doing.contains(document.activeElement) ? document.activeElement.textContent : null;
    this.doing.replaceChildren(
      ...(finished || item.part
        ? [make("a", {
            class: "button", href: `/items/${item.id}/result`, download: true,
            "aria-label": words.of(item.part ? words.savePart : words.save, item.name),
          }, item.part ? words.savePart : words.save)]
        : []),
      ...wanted.map(([name, work]) => act(name === "remedy" ? remedyName(item) : name, work)),
    );
    if (held !== null) [...this.doing.children].find((child) => child.textContent === held)?.focus();
  }

  details() {
    if (!this.detailed) {
      this.explain();
      return;
    }
    // Also before they came.
    this.turn += 1;
    this.detailed = "";
    this.more.hidden = this.draggable = true;
  }

  about() {
    // What the details depend on.
    return JSON.stringify([this.item, this.settings]);
  }

  async explain() {
    const turn = (this.turn += 1);
    this.detailed = this.about();
    this.asking = true;
    try {
      const about = await ask("GET", `/items/${this.item.id}`);
      if (turn === this.turn) this.detail(about);
    } catch (error) {
      if (turn === this.turn) {
        if (this.more.hidden) this.detailed = "";
        tell(error.message);
      }
    }
    this.asking = false;
  }

  detail(about) {
    this.told = about;
    if (!this.more.firstChild) {
      const copy = make("button", { type: "button", onclick: () => this.copy() }, words.copy);
      this.more.append(this.ownSize, make("p", {}, words.command, ": ", this.code, " ", copy), this.lines);
    }
    // What is selected, or has the focus, stays.
    if (this.code.textContent !== about.command) this.code.textContent = about.command;
    const waits = about.state === "waiting" && !about.begun && !about.part;
    if (!waits || !this.ownSize.contains(document.activeElement)) {
      this.ownSize.replaceChildren(...(waits ? [sizeOf(about)] : []));
    }
    const lines = [...(about.target ? [words.liesAt(about.target)] : []), ...about.notes];
    if (this.said !== lines.join("\n")) {
      this.said = lines.join("\n");
      this.lines.replaceChildren(...lines.map((line) => make("p", { class: "quiet" }, line)));
    }
    this.more.hidden = false;
    // In what can be dragged, no text can be selected.
    this.draggable = false;
  }

  async copy() {
    // Of what failed, also what is asked for first by those who can help.
    const { command, state, reason, notes } = this.told;
    const lines = state === "failed" ? [said(reason), ...notes] : [];
    try {
      await navigator.clipboard.writeText([command, ...lines].join("\n"));
      tell(words.copied);
    } catch {
      // Browsers copy only from pages of this machine, and those that are encrypted.
      getSelection().selectAllChildren(this.code);
      tell(words.copyByHand);
    }
  }
}

function chime(sound) {
  // Two notes, one after the other.
  [660, 880].forEach((pitch, n) => {
    const tone = sound.createOscillator();
    const loud = sound.createGain();
    const begin = sound.currentTime + 0.2 * n;
    tone.frequency.value = pitch;
    loud.gain.setValueAtTime(0.15, begin);
    loud.gain.exponentialRampToValueAtTime(0.001, begin + 0.4);
    tone.connect(loud).connect(sound.destination);
    tone.start(begin);
    tone.stop(begin + 0.4);
  });
}

function sizeOf(item) {
  // What holds for all, or a size of its own.
  const [scale = null, size = null] = item.own_size ?? [];
  const pixels = make("input", {
    type: "number", min: 16, max: 65535, value: size?.[0] ?? size?.[1] ?? 1920, "aria-label": words.pixels,
  });
  const menu = make("select", {},
    option("", words.ownSizeNone), ...["2", "4", ...OTHERS].map((factor) => option(factor, words.times(factor))),
    option("width", words.exactWidth), option("height", words.exactHeight),
  );
  const known = [...menu.options].map((one) => one.value);
  menu.value = size ? (size[0] === null ? "width" : "height") : known.includes(String(scale ?? "")) ? scale ?? "" : "";
  const show = () => (pixels.hidden = !["width", "height"].includes(menu.value));
  const change = () => {
    show();
    const side = Math.round(Number(pixels.value)) || 1920;
    const sizes = { width: [null, side], height: [side, null] };
    const changes = { "options.scale": Number(menu.value) || null, "options.size": sizes[menu.value] ?? null };
    order("POST", `/items/${item.id}`, { do: "again", changes });
  };
  for (const control of [menu, pixels]) control.addEventListener("change", change);
  show();
  return make("p", { class: "buttons" }, make("label", {}, `${words.ownSize} `, menu), pixels);
}

function remedyName(item) {
  return words.remedies[item.remedy === "format" ? (item.clip ? "clip" : "picture") : item.remedy];
}

function remedy(item) {
  // Smaller than what was tried without asking.
  if (item.remedy === "tile") return { "options.tile": item.pieces && item.pieces <= 64 ? 32 : 64 };
  if (item.remedy === "replace") return { "options.overwrite": true };
  if (item.remedy === "format") return item.clip ? { "clip.format": "mkv" } : { "options.format": "png" };
  if (item.remedy === "codec") return { "clip.format": "mkv", "options.video.codec": "h265" };
  if (item.remedy === "name") return { "options.name": null };
  if (item.remedy === "automatic") {
    return { "options.engine": "auto", "options.precision": "auto", "options.device": null };
  }
  return {};
}

const plain = document.getElementById("icon").getAttribute("href");
let drawn = null;

function mark(share) {
  // The icon of the tab fills; in sixteenths, since more cannot be seen.
  const step = share === null ? null : Math.round(share * 16);
  if (step === drawn) return;
  drawn = step;
  const icon = document.getElementById("icon");
  if (icon.href.startsWith("blob:")) URL.revokeObjectURL(icon.href);
  icon.setAttribute("href", step === null ? plain : URL.createObjectURL(pie(step / 16)));
}

function pie(share) {
  const bar = `<rect width="32" height="32" rx="6" fill="#1b5e9b"/><rect x="4" y="12" width="24" height="8" fill="#9cc0e0"/>`;
  const full = `<rect x="4" y="12" width="${24 * share}" height="8" fill="#fff"/>`;
  return new Blob([`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${bar}${full}</svg>`], {
    type: "image/svg+xml",
  });
}

customElements.define("isr-row", Row);
customElements.define("isr-go", Go);
