/** A grid of any length, of which only what is near the window is in the page. */

const LEAST_WIDTH = 200;
const GAP = 16;
const CAPTION = 64;
const AHEAD = 2;
const NEAR_END_ROWS = 8;

/**
 * Args: the list element; `make(group)` returns a card; `nearEnd()` is called when the
 * person comes near the last group.
 */
export class Grid {
  #list;
  #make;
  #nearEnd;
  #groups = [];
  #cards = new Map();
  #current = null;
  #columns = 1;
  #width = LEAST_WIDTH;
  #planned = false;

  constructor(list, make, nearEnd) {
    this.#list = list;
    this.#make = make;
    this.#nearEnd = nearEnd;
    new ResizeObserver(() => this.#measure()).observe(list);
    addEventListener("scroll", () => this.#plan(), { passive: true });
    addEventListener("resize", () => this.#plan());
    list.addEventListener("keydown", (event) => this.#walk(event));
    list.addEventListener("focusin", (event) => this.#enter(event));
    list.addEventListener("focusout", () => this.#plan());
  }

  /** Shows these groups; what the person looks at stays where it is. */
  show(groups) {
    const anchor = this.#anchor();
    if (!groups.some(({ key }) => key === this.#current)) this.#current = null;
    this.#groups = groups;
    this.#layOut();
    if (anchor) {
      const place = groups.findIndex(({ key }) => key === anchor.key);
      if (place >= 0) scrollBy(0, this.#top(place) - anchor.top);
    }
    this.#render();
  }

  /** Makes the cards of a job anew when it is shown next. */
  renew(jobId) {
    for (const card of this.#cards.values()) if (card.group?.jobId === jobId) card.group = null;
  }

  /** Puts the focus on a group, wherever it is. */
  focus(key) {
    const place = this.#groups.findIndex((group) => group.key === key);
    if (place < 0) return;
    this.#current = key;
    this.#reveal(place);
    this.#render();
    this.#cards.get(key).node.querySelector("button").focus({ preventScroll: true });
  }

  #measure() {
    const width = this.#list.clientWidth;
    this.#columns = Math.max(1, Math.floor((width + GAP) / (LEAST_WIDTH + GAP)));
    this.#width = (width - GAP * (this.#columns - 1)) / this.#columns;
    this.#layOut();
    this.#render();
  }

  #layOut() {
    const rows = Math.ceil(this.#groups.length / this.#columns);
    this.#list.style.height = `${Math.max(0, rows * this.#rowHeight - GAP)}px`;
    this.#list.style.setProperty("--card-width", `${this.#width}px`);
    this.#list.style.setProperty("--card-height", `${this.#rowHeight - GAP}px`);
  }

  get #rowHeight() {
    return this.#width + CAPTION + GAP;
  }

  #top(place) {
    return Math.floor(place / this.#columns) * this.#rowHeight;
  }

  /** The first card in sight, when there is something above it. */
  #anchor() {
    const above = -this.#list.getBoundingClientRect().top;
    if (above <= 0) return null;
    const place = Math.ceil(above / this.#rowHeight) * this.#columns;
    const group = this.#groups[Math.min(place, this.#groups.length - 1)];
    return group && { key: group.key, top: this.#top(place) };
  }

  #plan() {
    if (this.#planned) return;
    this.#planned = true;
    requestAnimationFrame(() => {
      this.#planned = false;
      this.#render();
    });
  }

  #render() {
    const above = -this.#list.getBoundingClientRect().top;
    const first = Math.floor(above / this.#rowHeight) - AHEAD;
    const last = Math.floor((above + innerHeight) / this.#rowHeight) + AHEAD;
    const from = Math.max(0, first * this.#columns);
    const to = Math.min(this.#groups.length, (last + 1) * this.#columns);
    const places = [...this.#groups.keys()].filter(
      (place) => (place >= from && place < to) || this.#busy(this.#groups[place].key),
    );
    // First what goes: a card that is moved, even for a moment, would lose the focus.
    this.#keep(new Set(places.map((place) => this.#groups[place].key)));
    let before = null;
    for (const place of places) before = this.#put(this.#groups[place], place, before);
    this.#stop();
    if (to > this.#groups.length - NEAR_END_ROWS * this.#columns) this.#nearEnd();
  }

  #keep(keys) {
    for (const [key, { node }] of this.#cards) {
      if (keys.has(key)) continue;
      node.remove();
      this.#cards.delete(key);
    }
  }

  #put(group, place, before) {
    let card = this.#cards.get(group.key);
    if (card?.group !== group) {
      const node = this.#make(group);
      if (card) exchange(card.node, node);
      card = { node, group };
      this.#cards.set(group.key, card);
    }
    const { node } = card;
    const expected = before ? before.nextSibling : this.#list.firstChild;
    if (node !== expected) this.#list.insertBefore(node, expected);
    const column = place % this.#columns;
    const across = column * (this.#width + GAP);
    node.style.transform = `translate(${across}px, ${this.#top(place)}px)`;
    node.setAttribute("aria-posinset", place + 1);
    node.setAttribute("aria-setsize", this.#groups.length);
    return node;
  }

  /** Of all cards one is on the way of the tabulator; arrow keys go to the others. */
  #stop() {
    const current = this.#current ?? this.#groups[0]?.key;
    for (const [key, { node }] of this.#cards)
      for (const part of controls(node)) part.tabIndex = key === current ? 0 : -1;
  }

  /** What has the focus or plays is not taken away. */
  #busy(key) {
    const node = this.#cards.get(key)?.node;
    if (!node) return false;
    const playing = [...node.querySelectorAll("audio")].some((audio) => !audio.paused);
    return playing || node.contains(document.activeElement);
  }

  #enter(event) {
    const node = event.target.closest("li");
    for (const [key, card] of this.#cards) if (card.node === node) this.#current = key;
    this.#stop();
  }

  #walk(event) {
    if (event.target.closest("audio") || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.#groups.length - 1;
    const place = this.#groups.findIndex(({ key }) => key === this.#current);
    const places = {
      ArrowLeft: place - 1,
      ArrowRight: place + 1,
      ArrowUp: place - this.#columns,
      ArrowDown: place + this.#columns,
      Home: 0,
      End: last,
    };
    const next = places[event.key];
    if (next === undefined) return;
    event.preventDefault();
    if (next >= 0) this.focus(this.#groups[Math.min(next, last)].key);
  }

  /** Scrolls so far that a group is in sight. */
  #reveal(place) {
    const top = this.#list.getBoundingClientRect().top + this.#top(place);
    const header = document.querySelector("header").offsetHeight + GAP;
    const under = top + this.#rowHeight - innerHeight;
    if (top < header) scrollBy(0, top - header);
    else if (under > 0) scrollBy(0, Math.min(under, top - header));
  }
}

/** Puts one card in the place of another, and the focus where it was. */
function exchange(old, fresh) {
  const place = controls(old).indexOf(document.activeElement);
  old.before(fresh);
  // Only what takes the focus from another shows it.
  if (place >= 0) (controls(fresh)[place] ?? controls(fresh)[0]).focus({ preventScroll: true });
  old.remove();
}

function controls(card) {
  return [...card.querySelectorAll("button, audio")];
}
