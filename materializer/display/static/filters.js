/** What the person looks for. */

const STILL_MS = 180;

/** Calls `changed({search, kind})` when the person has stopped typing, or chose. */
export class Filters {
  #form;

  constructor(form, changed) {
    this.#form = form;
    let timer;
    const soon = (delay) => {
      clearTimeout(timer);
      timer = setTimeout(() => changed(this.wanted), delay);
    };
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", ({ target }) => soon(target.type === "search" ? STILL_MS : 0));
    addEventListener("keydown", (event) => this.#find(event));
  }

  get wanted() {
    const { search, kind } = Object.fromEntries(new FormData(this.#form));
    return { search: search.trim(), kind };
  }

  /** Whether anything is left out. */
  get narrow() {
    const { search, kind } = this.wanted;
    return Boolean(search || kind);
  }

  /** A slash goes to the search, as on many a page. */
  #find(event) {
    if (event.key !== "/" || event.target.closest("[type=search], dialog")) return;
    event.preventDefault();
    this.#form.elements.search.focus();
  }
}
