// Start a job and watch it until it is gone, whatever the network does; Ctrl+C cancels it.
//
//   npm ci --ignore-scripts
//   export TRIO_SUPERVISOR_URL=ws://127.0.0.1:8765/ws TRIO_SUPERVISOR_TOKEN=$(cat token)
//   node watch.mjs crawl '{"site": "example.org"}'

import {randomUUID} from 'node:crypto';
import {setTimeout as sleep} from 'node:timers/promises';
import {JSONRPCClient} from 'json-rpc-2.0';
import WebSocket from 'ws';

const {TRIO_SUPERVISOR_URL: url, TRIO_SUPERVISOR_TOKEN: token} = process.env;
// The id is ours: to start it a second time, because an answer was lost, starts nothing.
const [name, args = '{}', job_id = randomUUID()] = process.argv.slice(2);
const headers = {Authorization: `Bearer ${token}`};
const FINAL = ['succeeded', 'failed', 'cancelled', 'timed_out'];
let since; // the position up to which we have seen the events
let stop = false;
let cancel = () => {}; // how to ask for it, while there is a connection

// One connection, from the handshake to its loss; resolves with the job's final state.
function follow() {
  const socket = new WebSocket(url, {headers, handshakeTimeout: 10_000});
  const rpc = new JSONRPCClient((message) => socket.send(JSON.stringify(message)));
  let quiet;
  let patience = 20;
  const hear = () => {
    clearTimeout(quiet);
    quiet = setTimeout(() => socket.terminate(), patience * 1000);
  };

  async function begin(resolve) {
    patience = 2 * (await rpc.request('session.hello', {client: 'watch.mjs'})).limits.bookmark_seconds;
    const resumed = since !== undefined;
    const opened = await rpc.request('events.subscribe', {since, filter: {job_ids: [job_id]}});
    since ??= {instance: opened.instance, seq: opened.from_seq};
    const {job} = await rpc.request('job.start', {name, args: JSON.parse(args), job_id});
    if (!resumed && FINAL.includes(job.state)) resolve(job.state);
    cancel = () => rpc.request('job.cancel', {job_id, reason: 'Ctrl+C'}).catch(() => {}); // asked again
    if (stop) cancel();
  }

  return new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.on('open', () => begin(resolve).catch(reject));
    socket.on('close', (code, reason) => reject(new Error(`connection closed (${code} ${reason})`)));
    socket.on('message', (data) => {
      hear();
      const message = JSON.parse(data.toString());
      const {method, params} = message;
      if (method === undefined) return rpc.receive(message);
      if (method !== 'events.event' && method !== 'events.bookmark') return;
      if (params.prev_seq !== since.seq) return socket.terminate(); // one was lost: come back for it
      since.seq = params.seq;
      if (method === 'events.event') console.log(`${params.seq} ${params.type}: ${params.state}`);
      if (params.type === 'job.finished') resolve(params.state);
    });
  }).finally(() => {
    cancel = () => {};
    clearTimeout(quiet);
    socket.terminate();
  });
}

process.on('SIGINT', () => {
  stop = true;
  cancel();
});
for (let failures = 0, state; state === undefined; ) {
  const before = since?.seq;
  state = await follow().catch(async (error) => {
    const {kind, retryable, instance} = error.data ?? {};
    if (kind === 'replay_gone' && instance === since.instance) since = undefined; // look at the job again
    else if (retryable === false || /response: 4/.test(error.message)) throw error;
    failures = since?.seq === before ? failures + 1 : 1;
    const wait = Math.min(30, 2 ** failures / 4) * (0.5 + Math.random() / 2);
    console.error(`${error.message}; trying again in ${wait.toFixed(1)} s`);
    await sleep(wait * 1000);
  });
  if (state !== undefined) {
    console.log(`the job is ${state}`);
    process.exitCode = state === 'succeeded' ? 0 : 1;
  }
}
