/** Outputs one at a time, over the page, with the keyboard. */

import { element, iconButton } from "./element.js";
import { stage } from "./stage.js";
import * as words from "./words.js";

/** What uses the arrow keys itself while it has the focus. */
const OWN_KEYS = "video, audio, canvas, .transcript";

export class Lightbox {
  #dialog;
  #gallery;
  #does;
  #item = null;
  #stage = null;
  #shown;
  #title;
  #facts;
  #prompt;
  #place;

  /**
   * Args: the dialog element; the gallery; `does` has `reveal`, `copy` and `remove`,
   * each of a group; `closed(item)` is called with what was shown last.
   */
  constructor(dialog, gallery, does, closed) {
    this.#dialog = dialog;
    this.#gallery = gallery;
    this.#does = does;
    this.#build();
    dialog.addEventListener("keydown", (event) => this.#key(event));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => {
      if (dialog.open) return; // The event comes late: it was opened again meanwhile.
      const last = this.#item;
      this.#clear();
      closed(last);
    });
  }

  open(item) {
    this.#show(item);
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#dialog.focus();
  }

  /** Follows the gallery: what was removed gives way to its neighbour. */
  refresh() {
    if (!this.#item) return;
    const items = this.#gallery.items;
    const place = items.findIndex(({ id }) => id === this.#item.id);
    if (place >= 0) this.#tell(items, place);
    else if (items.length) this.#show(items[Math.min(this.#at, items.length - 1)]);
    else this.#dialog.close();
  }

  #at = 0;

  #build() {
    this.#shown = element("div", { class: "shown" });
    this.#title = element("h2", { id: "shown-title" });
    this.#facts = element("p", { class: "facts" });
    this.#prompt = element("p", { class: "prompt" });
    this.#place = element("p", { class: "place" });
    const one = (does) => () => does({ kind: this.#item.kind, items: [this.#item] });
    this.#dialog.setAttribute("aria-labelledby", "shown-title");
    this.#dialog.append(
      element(
        "div",
        { class: "bar" },
        this.#place,
        iconButton("folder", "Open in folder", one(this.#does.reveal)),
        iconButton("copy", "Copy", one(this.#does.copy)),
        iconButton("remove", "Remove", one(this.#does.remove)),
        iconButton("close", "Close", () => this.#dialog.close()),
      ),
      iconButton("previous", "Previous output", () => this.#move(-1), { class: "icon-button step previous" }),
      this.#shown,
      iconButton("next", "Next output", () => this.#move(1), { class: "icon-button step next" }),
      element("div", { class: "about", "aria-live": "polite" }, this.#title, this.#facts, this.#prompt),
    );
  }

  #show(item) {
    this.#clear();
    this.#item = item;
    this.#stage = stage(item);
    this.#shown.append(this.#stage.node);
    const title = words.title(item);
    this.#title.textContent = title;
    const made = words.spaced(item.capability);
    this.#facts.textContent = [...words.facts(item), made, words.when(item.createdAt)].filter(Boolean).join(" · ");
    this.#prompt.textContent = item.prompt?.trim() && item.prompt.trim() !== title ? item.prompt : "";
    const items = this.#gallery.items;
    this.#tell(items, items.findIndex(({ id }) => id === item.id));
  }

  #tell(items, place) {
    this.#at = Math.max(0, place);
    this.#place.textContent = `${this.#at + 1} of ${this.#gallery.total.toLocaleString()}`;
    if (place >= items.length - 3) this.#gallery.more();
  }

  #clear() {
    this.#stage?.close();
    this.#stage = null;
    this.#item = null;
    this.#shown.replaceChildren();
  }

  #move(steps) {
    const items = this.#gallery.items;
    const place = Math.min(items.length - 1, Math.max(0, this.#at + steps));
    if (items[place].id !== this.#item.id) this.#show(items[place]);
    if (!this.#dialog.contains(document.activeElement)) this.#dialog.focus();
  }

  #key(event) {
    if (event.target.closest(OWN_KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    this.#move(steps[event.key]);
  }
}
