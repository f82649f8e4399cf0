/** Outputs as they are shown: the pictures of a job together, newest first. */

export class Groups {
  #byJob = new Map();
  #sorted = null;

  /** Every group, newest first: `{key, jobId, kind, items}`. Not to be changed. */
  get all() {
    this.#sorted ??= [...this.#byJob.values()].flat().sort(newestFirst);
    return this.#sorted;
  }

  /** Every output, in the order of the groups. */
  get items() {
    return this.all.flatMap((group) => group.items);
  }

  /** Whether outputs of a job are here. */
  has(jobId) {
    return this.#byJob.has(jobId);
  }

  /** Makes these the outputs of a job. Groups that are as they were stay the same. */
  put(jobId, items) {
    const before = this.#byJob.get(jobId) ?? [];
    const after = grouped(items).map(
      (group) => before.find((old) => same(old, group)) ?? group,
    );
    if (after.length) this.#byJob.set(jobId, after);
    else this.#byJob.delete(jobId);
    this.#sorted = null;
  }

  /** Adds a page of the gallery, which may continue what is here. */
  add(items) {
    for (const [jobId, added] of Map.groupBy(items, (item) => item.jobId)) {
      const known = (this.#byJob.get(jobId) ?? []).flatMap((group) => group.items);
      const byId = new Map([...known, ...added].map((item) => [item.id, item]));
      this.put(jobId, [...byId.values()]);
    }
  }
}

function grouped(items) {
  const inOrder = items.toSorted((a, b) => a.index - b.index);
  const byKey = Map.groupBy(inOrder, (item) =>
    item.kind === "image" ? `images of ${item.jobId}` : item.id,
  );
  return [...byKey].map(([key, items]) => {
    const [{ jobId, kind, createdAt }] = items;
    return { key, jobId, kind, createdAt, items };
  });
}

function same(one, other) {
  return one.key === other.key && JSON.stringify(one.items) === JSON.stringify(other.items);
}

function newestFirst(a, b) {
  return b.createdAt - a.createdAt || compare(a.jobId, b.jobId) || a.items[0].index - b.items[0].index;
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
