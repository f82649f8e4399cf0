// The official JavaScript client: follows all three functions, prints what it sees.
// Arguments: the deployment's URL, a token, a job id. Each line is [name, value]; the
// first is what the HTTP client got.
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { anyApi } from "convex/server";
import WebSocket from "ws";

const [url, token, jobId] = process.argv.slice(2);
const jobs = anyApi.media_jobs;
const say = (name, value) => console.log(JSON.stringify([name, value]));

const http = new ConvexHttpClient(url, { auth: token });
say("http", await http.query(jobs.getByJobId, { jobId }));

const client = new ConvexClient(url, {
  logger: false,
  unsavedChangesWarning: false,
  webSocketConstructor: WebSocket,
});
client.setAuth(async () => token);
client.onUpdate(jobs.getByJobId, { jobId }, (value) => say("getByJobId", value));
for (const name of ["listSucceededSince", "listFailedSince"]) {
  client.onUpdate(jobs[name], { since: 0, limit: 200 }, (value) => say(name, value));
}
