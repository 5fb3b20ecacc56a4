// A folder on this computer: looked into from the roots that the program was started with.

import { make, news, tell } from "./element.js";
import { ask, order } from "./server.js";
import { words } from "./words.js";

class Picker extends HTMLElement {
  connectedCallback() {
    this.heading = make("h2", { id: "pick" });
    this.where = make("p", { class: "quiet" });
    this.list = make("ul", { class: "entries" });
    this.all = make("button", { type: "button", class: "main", onclick: () => this.add(this.all, this.shown, true) }, words.pickAll);
    this.here = make("button", { type: "button", class: "main", onclick: () => this.hand(this.shown.folder) }, words.pickHere);
    this.back = make("button", { type: "button", onclick: () => this.up() }, words.pickUp);
    this.dialog = make(
      "dialog",
      { "aria-labelledby": "pick" },
      this.heading,
      this.where,
      this.list,
      make(
        "p",
        { class: "buttons" },
        this.all,
        this.here,
        this.back,
        make("button", { type: "button", onclick: () => this.dialog.close() }, words.close),
      ),
      news(),
    );
    this.append(this.dialog);
    this.turn = 0;
  }

  async show(kind = "files", take = null) {
    // Files are added; a network, or the folder of results, is handed to `take`.
    Object.assign(this, { kind, take });
    this.heading.textContent = words.pickTitles[kind];
    this.root = null;
    this.path = "";
    this.draw([]);
    this.dialog.showModal();
    await this.look();
  }

  async look() {
    // What was asked for last is shown; until then, the buttons are about what still is.
    const { root, path } = this;
    const turn = (this.turn += 1);
    try {
      const told = await ask("GET", root === null ? "/folders" : `/folders?root=${root}&path=${encodeURIComponent(path)}`);
      if (turn !== this.turn) return;
      if (root === null) {
        const none = [words.pickNone, " ", make("code", { class: "whole-line" }, words.pickCommand)];
        this.draw(told.roots.map((name, n) => this.folder(name, () => this.enter(n, ""))), ...(told.roots.length ? [] : none));
      } else {
        const below = (name) => (path ? `${path}/${name}` : name);
        this.draw(
          [
            ...told.folders.map((name) => this.folder(name, () => this.enter(root, below(name)))),
            ...(this.kind === "network" ? told.networks.map((network) => this.network(network)) : []),
            ...(this.kind === "files" ? told.files.map((name) => this.file(name, root, below(name))) : []),
          ],
          this.nothing(told) || path,
        );
      }
      this.shown = { root, path, folder: told.path };
    } catch (error) {
      if (turn === this.turn) tell(error.message);
    }
  }

  nothing({ networks, folders, files }) {
    if (this.kind === "network") return networks.length ? "" : words.pickNoNetwork;
    return this.kind === "files" && !folders.length && !files.length ? words.pickEmpty : "";
  }

  draw(rows, ...where) {
    this.list.replaceChildren(...rows);
    this.where.replaceChildren(...where);
    this.back.hidden = this.root === null;
    this.all.hidden = this.back.hidden || this.kind !== "files";
    this.here.hidden = this.back.hidden || this.kind !== "folder";
  }

  folder(name, open) {
    return make("li", {}, make("button", { type: "button", class: "folder", onclick: open }, name));
  }

  file(name, root, path) {
    return this.row(name, name, words.pickAdd, (event) => this.add(event.target, { root, path }));
  }

  network({ path, name, model, scales, knobs }) {
    return this.row(words.networkLine(name, model, scales), name, words.pickUse, () => this.hand(path, knobs));
  }

  hand(...chosen) {
    this.dialog.close();
    this.take(...chosen);
  }

  row(line, name, what, act) {
    return make("li", {}, make("span", {}, line),
      make("button", { type: "button", onclick: act, "aria-label": words.of(what, name) }, what));
  }

  enter(root, path) {
    this.root = root;
    this.path = path;
    return this.look();
  }

  up() {
    if (!this.path) this.root = null;
    this.path = this.path.split("/").slice(0, -1).join("/");
    return this.look();
  }

  async add(button, { root, path }, closes = false) {
    // Once, however often the button is pressed before that is done.
    const { turn } = this;
    button.disabled = true;
    const told = await order("POST", "/add", { root, path });
    button.disabled = false;
    if (!told) return;
    if (closes && turn === this.turn) this.dialog.close();
    tell(words.added(told.ids.length));
  }
}

customElements.define("isr-picker", Picker);
