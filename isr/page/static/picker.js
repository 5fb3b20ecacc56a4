// A folder on this computer: looked into from the roots that the program was started with.

import { make, news, tell } from "./element.js";
import { ask, order } from "./server.js";
import { words } from "./words.js";

class Picker extends HTMLElement {
  connectedCallback() {
    this.where = make("p", { class: "quiet" });
    this.list = make("ul", { class: "entries" });
    this.all = make("button", { type: "button", class: "main", onclick: () => this.add(this.path) }, words.pickAll);
    this.back = make("button", { type: "button", onclick: () => this.up() }, words.pickUp);
    this.dialog = make(
      "dialog",
      { "aria-labelledby": "pick" },
      make("h2", { id: "pick" }, words.pickTitle),
      this.where,
      this.list,
      make(
        "p",
        { class: "buttons" },
        this.all,
        this.back,
        make("button", { type: "button", onclick: () => this.dialog.close() }, words.close),
      ),
      news(),
    );
    this.append(this.dialog);
  }

  async show() {
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
        const said = await ask("GET", `/folders?root=${this.root}&path=${encodeURIComponent(this.path)}`);
        const below = (name) => (this.path ? `${this.path}/${name}` : name);
        this.draw(
          [
            ...said.folders.map((name) => this.folder(name, () => this.enter(this.root, below(name)))),
            ...said.files.map((name) => this.file(name, below(name))),
          ],
          said.folders.length + said.files.length ? this.path : words.pickEmpty,
        );
      }
    } catch (error) {
      tell(error.message);
    }
  }

  draw(rows, where) {
    this.list.replaceChildren(...rows);
    this.where.textContent = where;
    this.all.hidden = this.back.hidden = this.root === null;
  }

  folder(name, open) {
    return make("li", {}, make("button", { type: "button", class: "folder", onclick: open }, name));
  }

  file(name, path) {
    const add = () => this.add(path);
    const label = words.of(words.pickAdd, name);
    return make("li", {}, make("span", {}, name),
      make("button", { type: "button", onclick: add, "aria-label": label }, words.pickAdd));
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
