// A folder on this computer: looked into from the roots that the program was started with.

import { make, news, tell } from "./element.js";
import { ask, order } from "./server.js";
import { words } from "./words.js";

class Picker extends HTMLElement {
  connectedCallback() {
    this.heading = make("h2", { id: "pick" });
    this.where = make("p", { class: "quiet" });
    this.list = make("ul", { class: "entries" });
    this.all = make("button", { type: "button", class: "main", onclick: () => this.add(this.path) }, words.pickAll);
    this.here = make("button", { type: "button", class: "main", onclick: () => this.hand(this.told.path) }, words.pickHere);
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
  }

  async show(kind = "files", take = null) {
    // Files are added; a network, or the folder of results, is handed to `take`.
    Object.assign(this, { kind, take });
    this.heading.textContent = words.pickTitles[kind];
    this.root = null;
    this.path = "";
    this.dialog.showModal();
    await this.look();
  }

  async look() {
    try {
      if (this.root === null) {
        const { roots } = await ask("GET", "/folders");
        this.draw(roots.map((name, root) => this.folder(name, () => this.enter(root, ""))), roots.length ? "" : words.pickNone);
      } else {
        const said = (this.told = await ask("GET", `/folders?root=${this.root}&path=${encodeURIComponent(this.path)}`));
        const below = (name) => (this.path ? `${this.path}/${name}` : name);
        this.draw(
          [
            ...said.folders.map((name) => this.folder(name, () => this.enter(this.root, below(name)))),
            ...(this.kind === "network" ? said.networks.map((network) => this.network(network)) : []),
            ...(this.kind === "files" ? said.files.map((name) => this.file(name, below(name))) : []),
          ],
          this.nothing(said) || this.path,
        );
      }
    } catch (error) {
      tell(error.message);
    }
  }

  nothing({ networks, folders, files }) {
    if (this.kind === "network") return networks.length ? "" : words.pickNoNetwork;
    return this.kind === "files" && !folders.length && !files.length ? words.pickEmpty : "";
  }

  draw(rows, where) {
    this.list.replaceChildren(...rows);
    this.where.textContent = where;
    this.back.hidden = this.root === null;
    this.all.hidden = this.back.hidden || this.kind !== "files";
    this.here.hidden = this.back.hidden || this.kind !== "folder";
  }

  folder(name, open) {
    return make("li", {}, make("button", { type: "button", class: "folder", onclick: open }, name));
  }

  file(name, path) {
    return this.row(name, name, words.pickAdd, () => this.add(path));
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

  async add(path) {
    const said = await order("POST", "/add", { root: this.root, path });
    if (said) {
      if (path === this.path) this.dialog.close();
      tell(words.added(said.ids.length));
    }
  }
}

customElements.define("isr-picker", Picker);
