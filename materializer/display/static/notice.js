/** What the page says: to everyone for a moment, or to a screen reader. */

const SECONDS = 5;

/** Args: an element that everyone sees, one that only a screen reader reads. */
export class Notice {
  #seen;
  #heard;
  #timer;

  constructor(seen, heard) {
    this.#seen = seen;
    this.#heard = heard;
  }

  /** Tells everyone. */
  say = (words) => {
    clearTimeout(this.#timer);
    this.#seen.textContent = words;
    this.#seen.showPopover?.();
    this.#timer = setTimeout(() => {
      this.#seen.hidePopover?.();
      this.#seen.textContent = "";
    }, SECONDS * 1000);
  };

  /** Tells who listens, and disturbs nobody else. */
  whisper = (words) => {
    this.#heard.textContent = words;
  };
}
