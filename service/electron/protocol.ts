/**
 * What the daemon and a client say to each other, as types; service/IPC.md in words.
 *
 * Times are milliseconds since 1970, sizes are bytes, paths are absolute. Fields that
 * are not here may come: what is read is only what is known.
 */

export const PROTOCOL = 1;

export type Kind = "image" | "video" | "audio" | "model3d" | "download" | "text";

export type Asset =
  | { kind: "image"; filePaths: string[] }
  | { kind: "video" | "audio"; filePath: string }
  | { kind: "model3d"; filePath: string; label?: string }
  | { kind: "download"; filePath: string; label: string }
  | { kind: "text"; text: string };

/** The sidebar's own payload, ready for its renderer. */
export interface DisplayPayload {
  kind: "media";
  asset: Asset;
  jobId: string;
  capability: string;
  prompt?: string;
  aspectRatio?: string;
  requestedSize?: { width: number; height: number };
  createdAt: number;
}

/** `open` brings the sidebar up, `register` adds quietly, `remove` takes away. */
export type Action = "open" | "register" | "remove";

/** One announcement; the same `seq` is the same update for ever. */
export interface DisplayUpdate {
  seq: number;
  action: Action;
  replay: boolean;
  payload: DisplayPayload;
}

/** What `endpoint.json` and the ready line say. */
export interface Endpoint {
  protocol: number;
  transport: "unix" | "pipe";
  path: string;
  pid: number;
  version: string;
  startedAt: number;
}

export interface Hello {
  server: string;
  version: string;
  protocol: number;
  pid: number;
  stateDir: string;
  owner: string | null;
}

export interface GalleryItem {
  id: string;
  jobId: string;
  index: number;
  kind: Kind;
  path: string;
  fileName: string;
  bytes: number;
  sha256: string;
  mimeType: string;
  width?: number;
  height?: number;
  durationMs?: number;
  thumbnailPath?: string;
  label?: string;
  prompt?: string;
  capability: string;
  profile?: string;
  aspectRatio?: string;
  createdAt: number;
  savedAt: number;
  missing: boolean;
}

export type JobState = "pending" | "fetching" | "done" | "failed" | "unrecognised";

export interface Job {
  jobId: string;
  state: JobState;
  status: string;
  capability: string;
  prompt?: string;
  attempts: number;
  nextAttemptAt: number | null;
  error: string | null;
  files: string[];
  outputs: GalleryItem[];
}

export type FeedState =
  "connecting" | "authenticating" | "live" | "backoff" | "signed_out" | "stopped";

export interface Status {
  version: string;
  pid: number;
  uptimeMs: number;
  stateDir: string;
  owner: string | null;
  feed: {
    state: FeedState;
    url: string;
    connectedAt: number | null;
    reconnects: number;
    lastError: string | null;
  };
  jobs: { pending: number; fetching: number; done: number; failed: number };
  gallery: { items: number; bytes: number };
  disk: { freeBytes: number | null; paused: boolean };
  since: number | null;
}

export type Topic = "job" | "download" | "feed" | "auth" | "notification" | "gallery";

/** A sentence for the person, in two parts. Both are plain text. */
export interface Note {
  title: string;
  body: string;
  /** The job that it is about, if it is about one. */
  jobId: string | null;
}

/** `show` asks the app to show a note; the others tell what came of one. */
export interface NotificationEvent {
  topic: "notification";
  type: "show" | "shown" | "not_shown";
  at: number;
  data: Note & { shown: boolean; number?: number };
}

/** What can be asked, each method with what it takes and what it answers. */
export interface Methods {
  "hello"(params: { client: string; protocol: number }): Hello;
  "display.subscribe"(params: {
    consumer: string;
    after?: number;
    page?: string;
  }): { cursor: number };
  "display.ack"(params: { consumer: string; seq: number }): { cursor: number };
  "display.suppress"(params: { suppressed: boolean }): { suppressed: boolean };
  "events.subscribe"(params?: { topics?: Topic[]; presents?: boolean }): object;
  "gallery.list"(params?: {
    limit?: number;
    cursor?: string;
    kind?: Kind;
    capability?: string;
    jobId?: string;
    search?: string;
  }): { items: GalleryItem[]; nextCursor: string | null; total: number };
  "gallery.get"(params: { id: string }): GalleryItem;
  "gallery.remove"(params: { id: string; deleteFile?: boolean }): { removed: true };
  "gallery.rebuild"(): { added: number; damaged: string[] };
  "job.get"(params: { jobId: string }): Job;
  "job.list"(params?: { state?: JobState; limit?: number }): { jobs: Job[] };
  "job.materialize"(params: { jobId: string }): Job;
  "job.retry"(params: { jobId: string }): Job;
  "job.claim"(params: { jobId: string }): object;
  "notification.shown"(params: { number: number }): object;
  "notification.snooze"(params: { forMs: number }): { snoozedUntil: number | null };
  "auth.set"(params: { token: string; convexUrl?: string; siteUrl?: string }): {
    owner: string;
  };
  "auth.clear"(): object;
  "daemon.status"(): Status;
  "daemon.shutdown"(): object;
}

/** What an app may ask; the others are the host's own. */
export type Request = Exclude<
  keyof Methods,
  "hello" | "display.subscribe" | "display.ack" | "events.subscribe"
>;
