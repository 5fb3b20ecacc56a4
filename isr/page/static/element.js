// Elements without markup in text: nothing that a file is called can become part of the page.

export function make(tag, properties = {}, ...inside) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...inside.filter((part) => part !== null && part !== undefined));
  return node;
}

export function option(value, text) {
  return make("option", { value }, text);
}

const LONGEST = 8000; // ms that news stand
let said = "";
let timer = 0;

export function news() {
  return make("div", { class: "news", role: "status", "aria-live": "polite" });
}

export function tell(text) {
  // To the eye and to a screen reader; the same words again are news again. What is behind an open dialog is neither
  // seen nor read.
  const all = [...document.querySelectorAll(".news")];
  const place = document.querySelector("dialog[open]") ?? document.body;
  const here = place.querySelector(":scope > .news");
  for (const other of all) if (other !== here) other.textContent = "";
  here.textContent = text === said ? `${text}\u00a0` : text;
  said = here.textContent;
  clearTimeout(timer);
  timer = setTimeout(() => (here.textContent = ""), LONGEST);
}
