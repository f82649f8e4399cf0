// A glue that hands each finished job to aria2 over its WebSocket RPC. Arguments: the
// folder where npm has installed `ws`, the deployment's URL, aria2's port, a folder for
// the files. It reads what a deployment says by itself, which is the least that it can
// do. Each file is one line: its job, when aria2 had told, in ns since boot, its path.
import { createHash, randomUUID } from "node:crypto";
import { once } from "node:events";
import { createRequire } from "node:module";

const [folder, url, port, to] = process.argv.slice(2);
const WebSocket = createRequire(`${folder}/`)("ws");
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const jobs = new Map();

const rpc = new WebSocket(`ws://127.0.0.1:${port}/jsonrpc`, { perMessageDeflate: false });
const feed = new WebSocket(`${url.replace("http", "ws")}/api/1.0.0/sync`, {
  perMessageDeflate: false,
});

rpc.on("message", (text) => {
  const { method, params, error } = JSON.parse(text);
  if (error || method === "aria2.onDownloadError") throw new Error(`aria2: ${text}`);
  if (method !== "aria2.onDownloadComplete") return;
  const at = Number(process.hrtime.bigint());
  const job = jobs.get(params[0].gid);
  say({ job, at, files: [`${to}/${job}.png`] });
});

feed.on("message", (text) => {
  for (const { value } of JSON.parse(text).modifications ?? [])
    for (const { jobId, output } of value) {
      const gid = createHash("md5").update(jobId).digest("hex").slice(0, 16);
      if (jobs.has(gid)) continue;
      jobs.set(gid, jobId);
      const params = [[output.images[0].url], { gid, out: `${jobId}.png` }];
      rpc.send(JSON.stringify({ jsonrpc: "2.0", id: gid, method: "aria2.addUri", params }));
    }
});

await Promise.all([once(rpc, "open"), once(feed, "open")]);
const connect = {
  type: "Connect",
  sessionId: randomUUID(),
  connectionCount: 0,
  lastCloseReason: "InitialConnect",
};
const follow = {
  type: "ModifyQuerySet",
  baseVersion: 0,
  newVersion: 1,
  modifications: [
    {
      type: "Add",
      queryId: 0,
      udfPath: "media_jobs:listSucceededSince",
      args: [{ since: 0, limit: 200 }],
    },
  ],
};
for (const message of [connect, follow]) feed.send(JSON.stringify(message));
say({ ready: true });
