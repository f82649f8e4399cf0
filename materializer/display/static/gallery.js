/** The outputs that match the filters, as far as they were loaded, kept up to date. */

import * as api from "./api.js";
import { Groups } from "./groups.js";

const PAGE = 200;
const FIRST_PAGE = 60;
const LARGEST_PAGE = 500;
const AT_ONCE_MS = 60;
const MANY = 8;

/** Calls `changed` after each change, and `failed` with what went wrong. */
export class Gallery {
  total = 0;
  loaded = false;
  #groups = new Groups();
  #wanted = {};
  #cursor = null;
  #turn = 0;
  #loading = false;
  #filling = Promise.resolve();
  #stale = new Set();

  constructor(changed, failed) {
    this.changed = changed;
    this.failed = failed;
  }

  get groups() {
    return this.#groups.all;
  }

  get items() {
    return this.#groups.items;
  }

  /** Shows what matches `{search, kind}`, from the newest on. */
  async want(wanted) {
    this.#wanted = wanted;
    await this.#fill(FIRST_PAGE);
  }

  /** Loads everything again that was loaded, since anything may have happened. */
  async reload() {
    await this.#fill(Math.max(FIRST_PAGE, this.#groups.items.length));
  }

  /** Loads a further page, if there is one and none is on its way. */
  async more() {
    if (this.#cursor === null || this.#loading) return;
    const turn = this.#turn;
    this.#loading = true;
    try {
      const page = await this.#page(PAGE, this.#cursor);
      if (turn !== this.#turn) return;
      this.#groups.add(page.items);
      this.#cursor = page.nextCursor;
      this.total = page.total;
      this.changed();
    } catch (error) {
      this.failed(error);
    } finally {
      if (turn === this.#turn) this.#loading = false;
    }
  }

  /** Looks at the outputs of a job again, soon, together with others. */
  refresh(jobId) {
    if (this.#stale.size === 0) setTimeout(() => this.#refresh(), AT_ONCE_MS);
    this.#stale.add(jobId);
  }

  async #refresh() {
    await this.#filling;
    const jobs = [...this.#stale];
    this.#stale.clear();
    if (jobs.length > MANY) return this.reload();
    const turn = this.#turn;
    try {
      const asked = jobs.map((jobId) => this.#page(LARGEST_PAGE, null, jobId));
      const [whole, ...pages] = await Promise.all([this.#page(1), ...asked]);
      if (turn !== this.#turn) return;
      this.total = whole.total;
      jobs.forEach((jobId, place) => this.#put(jobId, pages[place].items));
      this.changed();
    } catch (error) {
      this.failed(error);
    }
  }

  /** What is older than all that was loaded comes with its own page. */
  #put(jobId, items) {
    const last = this.#groups.all.at(-1);
    const known = this.#groups.has(jobId);
    if (known || this.#cursor === null || items[0]?.createdAt >= last?.createdAt)
      this.#groups.put(jobId, items);
  }

  #fill(least) {
    this.#filling = this.#load(least);
    return this.#filling;
  }

  async #load(least) {
    const turn = ++this.#turn;
    this.#loading = true;
    const items = [];
    let page = { nextCursor: null };
    try {
      do {
        const limit = Math.min(LARGEST_PAGE, least - items.length);
        page = await this.#page(limit, page.nextCursor);
        if (turn !== this.#turn) return;
        items.push(...page.items);
      } while (page.nextCursor !== null && items.length < least);
      this.#take(items, page);
    } catch (error) {
      if (turn === this.#turn) this.failed(error);
    } finally {
      if (turn === this.#turn) this.#loading = false;
    }
  }

  #take(items, { nextCursor, total }) {
    const here = Map.groupBy(items, (item) => item.jobId);
    for (const { jobId } of [...this.#groups.all])
      if (!here.has(jobId)) this.#groups.put(jobId, []);
    for (const [jobId, outputs] of here) this.#groups.put(jobId, outputs);
    this.#cursor = nextCursor;
    this.total = total;
    this.loaded = true;
    this.changed();
  }

  #page(limit, cursor, jobId) {
    return api.gallery({ ...this.#wanted, limit, cursor, jobId });
  }
}
