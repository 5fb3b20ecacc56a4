// HOW: size, look and kind of file; what is chosen holds for all that is not begun.

import { make, option } from "./element.js";
import { ask, order, watch } from "./server.js";
import { words } from "./words.js";

export const OTHERS = ["1.5", "3", "8"];
export const LOOKS = ["best", "quick", "live", "classic", "plain"];
const OWN = "own";
const ANOTHER = "?"; // no path
// The folder of the reader's own network.
let own = null;

export function looksNow() {
  return own === null ? LOOKS : [...LOOKS, OWN];
}

// What is asked for by a look.
export function chosenBy(look) {
  return look === OWN ? { sources: [own] } : { look };
}

const SMALLEST_TILE = 32;
const PICTURES = ["jpg", "png", "webp", "tif", "avif"];
const CLIPS = ["mp4", "mkv", "webm", "mov", "gif", "webp", "apng"];

function pick(menu, value = "") {
  // Also what the menu does not offer, or not yet.
  const text = String(value);
  if (![...menu.options].some((one) => one.value === text)) menu.add(option(text, text));
  menu.value = text;
}

function field(label, control) {
  return make("label", { class: "field" }, named(label), control);
}

function named(label) {
  // Plain words, and below them the expert's, where they differ.
  const [plain, term] = [label].flat();
  return make("span", {}, plain, term ? make("small", { class: "term" }, term) : null);
}

function choice(name, value, label, sentence) {
  return make(
    "label",
    { class: sentence ? "choice card" : "choice" },
    make("input", { type: "radio", name, value }),
    make("span", {}, make("b", {}, label), sentence ? make("small", {}, sentence) : null),
    sentence && value !== OWN ? make("img", { src: `/static/look-${value}.jpg`, alt: "", width: 192, height: 96 }) : null,
  );
}

class How extends HTMLElement {
  connectedCallback() {
    const menu = (name, pairs) => make("select", { name }, ...pairs.map((pair) => option(...pair)));
    const formats = (names) => [["", words.same], ...names.map((name) => [name, name.toUpperCase()])];
    const automatic = ["", words.automatic];
    // Where results of files of this computer go: beside these, or into one folder.
    this.into = make("select", { name: "into", "aria-label": words.saveIn[0] },
      option("", words.beside), option(ANOTHER, words.chooseNetwork));
    this.form = make(
      "form",
      {},
      make(
        "fieldset",
        {},
        make("legend", {}, words.size),
        choice("size", "2", words.twice),
        choice("size", "4", words.four),
        choice("size", "other", words.other),
        make(
          "span",
          { class: "other", hidden: true },
          make(
            "select",
            { name: "other", "aria-label": words.otherSize },
            ...OTHERS.map((factor) => option(factor, words.times(factor))),
            option("width", words.exactWidth),
            option("height", words.exactHeight),
          ),
          make("input", {
            type: "number", name: "side", min: 16, max: 65535, value: 1920, "aria-label": words.pixels, hidden: true,
          }),
        ),
      ),
      make(
        "fieldset",
        { class: "looks" },
        make("legend", {}, words.look),
        ...[...LOOKS, OWN].map((look) => choice("look", look, ...words.looks[look])),
      ),
      make(
        "div",
        { class: "fields knobs", hidden: true },
        ...["denoise", "texture"].map((knob) => {
          const turned = field(words[knob], menu(knob, words.amounts[knob]));
          turned.dataset.knob = knob;
          return turned;
        }),
      ),
      make(
        "div",
        { class: "fields" },
        field(words.savePictures, menu("pictures", formats(PICTURES))),
        field(words.saveClips, menu("clips", formats(CLIPS))),
        make("div", { class: "field into", hidden: true }, named(words.saveIn), this.into),
      ),
      make(
        "details",
        {},
        make("summary", {}, words.more),
        make(
          "div",
          { class: "fields" },
          field(words.quality, make("input", { type: "range", name: "quality", min: 60, max: 100, value: 95 })),
          field(
            words.videoQuality,
            menu("crf", [automatic, ["14", words.high], ["20", words.middle], ["26", words.small]]),
          ),
          field(words.codec, menu("codec", [automatic, ...Object.entries(words.codecs)])),
          field(words.precision, menu("precision", Object.entries(words.precisions))),
          make(
            "div",
            { class: "field" },
            named(words.network),
            make(
              "button",
              { type: "button", onclick: () => document.querySelector("isr-picker").show("network", (path, knobs) => this.own(path, knobs)) },
              words.chooseNetwork,
            ),
          ),
          field(words.engine, menu("engine", [["auto", words.automatic]])),
          field(words.metadata, make("input", { type: "checkbox", name: "metadata", checked: true })),
          field(words.ensemble, make("input", { type: "checkbox", name: "ensemble" })),
          field(words.device, menu("device", [automatic, ...Object.entries(words.devices)])),
          field(
            words.tile,
            make("input", {
              type: "number", name: "tile", min: SMALLEST_TILE, max: 4096, step: 1, placeholder: words.automatic,
            }),
          ),
          field(words.names, make("input", { type: "text", name: "names", placeholder: "{stem}_x{scale}", maxlength: 120 })),
          field(words.overwrite, make("input", { type: "checkbox", name: "overwrite" })),
        ),
      ),
    );
    this.append(make("section", { "aria-labelledby": "how" }, make("h2", { id: "how" }, words.how), this.form));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("input", () => this.show());
    // At once: whoever closes the page next has chosen nevertheless.
    this.form.addEventListener("change", (event) => (event.target === this.into ? this.choseFolder() : this.sendOff()));
    // What was kept when the form was last drawn, and what the form then said.
    this.known = "";
    this.shown = {};
    // What is not sent yet, and whether something is on its way.
    this.waiting = {};
    this.sending = false;
    // When it has arrived; what is begun by it waits for that.
    this.sent = Promise.resolve();
    // Knobs by look, once they are known, and those of networks that were chosen here.
    this.knobs = null;
    this.chosen = {};
    // Until the first state is there, nothing can be said to be chosen.
    this.form.inert = true;
    watch((state) => this.take(state));
    addEventListener("pagehide", () => this.sendRest());
  }

  choose(look) {
    this.form.look.value = look;
    this.sendOff();
  }

  own(path, knobs) {
    own = path;
    this.chosen[path] = knobs;
    if (this.knobs) this.knobs[path] = knobs;
    this.choose(OWN);
    this.show();
  }

  choseFolder() {
    if (this.into.value !== ANOTHER) {
      this.takeFolder(this.into.value);
      this.sendOff();
      return;
    }
    this.takeFolder(this.folder);
    document.querySelector("isr-picker").show("folder", (path) => {
      this.takeFolder(path);
      this.sendOff();
    });
  }

  takeFolder(path = "") {
    this.folder = path;
    for (const other of [...this.into.options]) if (other.value && other.value !== ANOTHER) other.remove();
    if (path) this.into.add(option(path, path), 1);
    this.into.value = path;
  }

  know(about) {
    const { engine } = this.form;
    const there = [...engine.options].map((one) => one.value);
    for (const name of about.engines) if (!there.includes(name)) engine.add(option(name, name));
    this.knobs = { ...about.knobs, ...this.chosen };
    if (own !== null && !this.knobs[own]) this.learn(own);
    this.querySelector(".into").hidden = !about.roots.length;
    this.show();
  }

  async learn(path) {
    // What can be turned of a network that another tab chose.
    try {
      const { knobs } = await ask("GET", "/machine");
      if (knobs[path]) this.chosen[path] = this.knobs[path] = knobs[path];
      this.show();
    } catch { /* they stay hidden */ }
  }

  knobsNow() {
    // Those of the chosen look; undefined where they are not known yet.
    const look = this.form.look.value;
    return this.knobs?.[look === OWN ? own : look];
  }

  values() {
    const form = this.form;
    const other = form.size.value === "other";
    const side = form.other.value;
    const pixels = Math.round(Number(form.side.value)) || 1920;
    const factor = Number(other ? side : form.size.value) || 2;
    const knobs = this.knobsNow();
    // Until it is known what there is, what was chosen stays.
    const turned = (knob) => (!knobs || knobs.includes(knob)) && form[knob].value;
    const denoise = turned("denoise") || "";
    return {
      look: null,
      sources: null,
      ...chosenBy(form.look.value),
      "options.denoise": denoise === "auto" ? denoise : denoise ? Number(denoise) : null,
      "options.texture": turned("texture") ? Number(form.texture.value) : null,
      "options.scale": other && !Number(side) ? null : factor,
      "options.size": other && !Number(side) ? (side === "width" ? [null, pixels] : [pixels, null]) : null,
      "options.format": form.pictures.value || null,
      "clip.format": form.clips.value || null,
      "results.folder": this.folder || null,
      "options.quality": Number(form.quality.value),
      "options.video.crf": form.crf.value ? Number(form.crf.value) : null,
      "options.video.codec": form.codec.value || null,
      "options.precision": form.precision.value,
      "options.engine": form.engine.value || "auto",
      "options.strip_metadata": !form.metadata.checked,
      "options.self_ensemble": form.ensemble.checked,
      "options.device": form.device.value || null,
      "options.tile": form.tile.value ? Math.max(SMALLEST_TILE, Math.round(Number(form.tile.value))) : null,
      "options.name": form.names.value.trim() || null,
      "options.overwrite": form.overwrite.checked,
    };
  }

  sendOff() {
    // What is not as it was shown, and nothing else: another tab may have chosen the rest meanwhile.
    const values = this.values();
    const differs = (name) => JSON.stringify(values[name]) !== JSON.stringify(this.shown[name]);
    for (const name of Object.keys(values).filter(differs)) this.waiting[name] = values[name];
    this.shown = values;
    if (!this.sending) this.sent = this.sendAll();
  }

  async sendAll() {
    // One after another, so that the last choice is the last that arrives.
    this.sending = true;
    while (Object.keys(this.waiting).length) {
      const changes = this.waiting;
      this.waiting = {};
      // What was refused is shown no longer.
      if (!(await order("PATCH", "/settings", changes))) this.known = "";
    }
    this.sending = false;
  }

  sendRest() {
    // Whoever leaves has chosen nevertheless.
    if (Object.keys(this.waiting).length) order("PATCH", "/settings", this.waiting);
    this.waiting = {};
  }

  take({ boot, settings }) {
    // What another tab chose, or the last time.
    const text = JSON.stringify(settings);
    if (!boot || this.sending || text === this.known || (this.known && this.isTyping())) return;
    this.known = text;
    const form = this.form;
    form.inert = false;
    const size = settings["options.size"];
    const scale = String(settings["options.scale"] ?? 2);
    form.size.value = size || OTHERS.includes(scale) ? "other" : scale;
    if (size) {
      form.other.value = size[0] === null ? "width" : "height";
      form.side.value = size[0] ?? size[1];
    } else if (OTHERS.includes(scale)) form.other.value = scale;
    if (settings.sources) {
      [own] = settings.sources;
      if (this.knobs && !this.knobs[own]) this.learn(own);
    }
    form.look.value = settings.sources ? OWN : settings.look ?? LOOKS[0];
    pick(form.pictures, settings["options.format"]);
    pick(form.clips, settings["clip.format"]);
    this.takeFolder(settings["results.folder"]);
    form.quality.value = settings["options.quality"] ?? 95;
    pick(form.crf, settings["options.video.crf"]);
    pick(form.codec, settings["options.video.codec"]);
    pick(form.precision, settings["options.precision"] ?? "auto");
    pick(form.engine, settings["options.engine"] ?? "auto");
    form.metadata.checked = !settings["options.strip_metadata"];
    form.ensemble.checked = Boolean(settings["options.self_ensemble"]);
    pick(form.denoise, settings["options.denoise"]);
    pick(form.texture, settings["options.texture"]);
    pick(form.device, settings["options.device"]);
    form.tile.value = settings["options.tile"] ?? "";
    form.names.value = settings["options.name"] ?? "";
    form.overwrite.checked = Boolean(settings["options.overwrite"]);
    this.shown = this.values();
    this.show();
  }

  isTyping() {
    const { activeElement: here } = document;
    return this.contains(here) && here.matches('input:not([type="radio"], [type="checkbox"])');
  }

  show() {
    const other = this.form.size.value === "other";
    this.querySelector(".other").hidden = !other;
    const card = this.querySelector(`[value="${OWN}"]`).parentElement;
    card.hidden = own === null;
    if (own !== null) card.querySelector("small").textContent = own.split(/[\\/]/).pop();
    const knobs = this.knobsNow() ?? [];
    this.querySelector(".knobs").hidden = this.form.inert || !knobs.length;
    for (const label of this.querySelectorAll("[data-knob]")) label.hidden = !knobs.includes(label.dataset.knob);
    this.form.side.hidden = Boolean(Number(this.form.other.value));
  }
}

customElements.define("isr-how", How);
