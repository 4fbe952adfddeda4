// json-rpc-2.0: a client that knows no transport, here over `ws`. Its ids count from 1.

import assert from 'node:assert/strict';
import {once} from 'node:events';
import {randomUUID} from 'node:crypto';
import {JSONRPCClient, JSONRPCServer, JSONRPCServerAndClient} from 'json-rpc-2.0';
import WebSocket from 'ws';

const {TRIO_SUPERVISOR_URL: url, TRIO_SUPERVISOR_TOKEN: token} = process.env;
const header = {headers: {Authorization: `Bearer ${token}`}};

// As its README has it: one object that calls, and is called by notifications.
async function open(options = header, createID = undefined) {
  const socket = new WebSocket(url, options);
  const rpc = new JSONRPCServerAndClient(
    new JSONRPCServer({errorListener: (message) => assert.fail(message)}),
    new JSONRPCClient((message) => socket.send(JSON.stringify(message)), createID),
  );
  socket.on('message', (data) => rpc.receiveAndSend(JSON.parse(data.toString())));
  socket.on('close', (code, reason) => rpc.rejectAllPendingRequests(`closed: ${code} ${reason}`));
  await once(socket, 'open');
  return {rpc, socket};
}

async function close(socket) {
  socket.close();
  await once(socket, 'close');
}

const refused = (promise, code, kind) =>
  assert.rejects(Promise.resolve(promise), (error) => {
    assert.deepEqual([error.code, error.data.kind], [code, kind]);
    return true;
  });

export async function jobs() {
  const {rpc, socket} = await open();
  const id = randomUUID();
  const params = {name: 'nap', args: {seconds: 0}, job_id: id, labels: {of: id}};
  assert.equal((await rpc.request('job.start', params)).created, true);
  assert.equal((await rpc.request('job.wait', {job_id: id, timeout: 20})).job.result, 'slept');
  assert.equal((await rpc.request('job.get', {job_id: id})).job.state, 'succeeded');
  assert.equal((await rpc.request('job.start', params)).created, false);
  assert.equal((await rpc.request('job.run', {name: 'fail'})).job.error.message, 'as told');
  assert.equal((await rpc.request('job.list', {labels: {of: id}})).jobs.length, 1);
  assert.ok((await rpc.request('session.ping')).now);
  await close(socket);
}

export async function cancelWithCertificate() {
  const {rpc, socket} = await open();
  const job_id = randomUUID();
  await rpc.request('job.start', {name: 'nap', job_id});
  const reply = await rpc.request('job.cancel', {job_id, wait: 'finished', reason: 'enough'});
  assert.equal(reply.job.state, 'cancelled');
  assert.equal(reply.certificate.proof.strength, 'certain');
  assert.equal((await rpc.request('job.cancel', {job_id})).outcome, 'already_cancelled');
  await close(socket);
}

export async function cancelBeforeStart() {
  const {rpc, socket} = await open();
  const job_id = randomUUID();
  const reply = await rpc.request('job.cancel', {job_id, if_unknown: 'remember'});
  assert.equal(reply.outcome, 'recorded');
  assert.equal((await rpc.request('job.run', {name: 'nap', job_id})).job.how, 'never_started');
  await close(socket);
}

export async function events() {
  const {rpc, socket} = await open();
  const job_id = randomUUID();
  const seen = [];
  const lines = [];
  const finished = new Promise((resolve) => {
    rpc.addMethod('events.event', (params) => {
      seen.push(params.type);
      if (params.type === 'job.finished') resolve();
    });
  });
  rpc.addMethod('events.log', ({text}) => lines.push(text));
  const filter = {job_ids: [job_id]};
  const {subscription_id} = await rpc.request('events.subscribe', {filter, logs: true});
  await rpc.request('job.start', {name: 'talk', args: {lines: 1}, job_id});
  await finished;
  assert.deepEqual(seen, ['job.starting', 'job.started', 'job.finished']);
  assert.deepEqual(lines, ['line 1: ünïcödé ☂']);
  assert.deepEqual(await rpc.request('events.unsubscribe', {subscription_id}), {ok: true});
  await close(socket);
}

export async function batch() {
  const {rpc, socket} = await open();
  const job_id = randomUUID();
  const request = (id, method, params) => ({jsonrpc: '2.0', id, method, params});
  const answers = await rpc.requestAdvanced([
    request(0, 'job.start', {name: 'nap', job_id}),
    request('wait', 'job.wait', {job_id}),
    request(1, 'job.get', {job_id: 'nobody'}),
    request(2, 'job.cancel', {job_id, reason: 'in a batch'}),
  ]);
  assert.deepEqual(answers.map(({id}) => id), [0, 'wait', 1, 2]);
  assert.equal(answers[1].result.job.reason, 'in a batch');
  assert.equal(answers[2].error.data.kind, 'job_not_found');
  await close(socket);
}

export async function requestTimesOutAndTheConnectionGoesOn() {
  const {rpc, socket} = await open();
  const job_id = randomUUID();
  await rpc.request('job.start', {name: 'nap', job_id});
  // Its timeout only stops looking for the answer; `$/cancelRequest` tells the server.
  const waiting = rpc.timeout(1).request('job.wait', {job_id});
  await assert.rejects(Promise.resolve(waiting), /Request timeout/);
  rpc.notify('$/cancelRequest', {id: 2});
  await refused(rpc.request('job.wait', {job_id, timeout: 0}), -32017, 'wait_timeout');
  assert.equal((await rpc.request('job.get', {job_id})).job.state, 'running');
  await rpc.request('job.cancel', {job_id, wait: 'finished'});
  await close(socket);
}

export async function cancelRequest() {
  const ids = [0, 'a', randomUUID(), 0, 0];
  const {rpc, socket} = await open(header, () => ids.shift());
  const job_id = randomUUID();
  await rpc.request('job.start', {name: 'nap', job_id});
  const waits = [rpc.request('job.wait', {job_id}), rpc.request('job.wait', {job_id})];
  rpc.notify('$/cancelRequest', {id: 'a'});
  await refused(waits[0], -32800, 'request_cancelled');
  assert.equal((await rpc.request('job.get', {job_id})).job.state, 'running');
  await rpc.request('job.cancel', {job_id});
  assert.equal((await waits[1]).job.state, 'cancelled');
  await close(socket);
}

export async function errors() {
  const {rpc, socket} = await open();
  await refused(rpc.request('job.get', {job_id: 'nobody'}), -32001, 'job_not_found');
  await refused(rpc.request('job.get', ['nobody']), -32602, 'invalid_params');
  await refused(rpc.request('job.nothing'), -32601, 'method_not_found');
  await close(socket);
}

export async function hello() {
  const {rpc, socket} = await open({});
  assert.equal((await rpc.request('session.hello', {token})).protocol, 'v1.jsonrpc.supervisor');
  assert.ok((await rpc.request('server.info')).jobs.length > 0);
  await close(socket);
}

export async function notLetIn() {
  const {rpc, socket} = await open({});
  const closed = once(socket, 'close');
  await refused(rpc.request('session.hello', {token: 'wrong'}), -32015, 'unauthenticated');
  assert.equal((await closed)[0], 4401);
  const turnedAway = new WebSocket(url, {headers: {Authorization: 'Bearer wrong'}});
  const [error] = await once(turnedAway, 'error');
  assert.match(error.message, /401/);
}

export async function compressionAndSubprotocolsAreOffered() {
  const socket = new WebSocket(url, ['other', 'v1.jsonrpc.supervisor'], {
    ...header,
    perMessageDeflate: true,
  });
  await once(socket, 'open');
  assert.equal(socket.protocol, 'v1.jsonrpc.supervisor');
  assert.equal(socket.extensions, '');
  await close(socket);
}

export async function discover() {
  const {rpc, socket} = await open();
  const document = await rpc.request('rpc.discover');
  assert.ok(document.methods.some(({name}) => name === 'job.cancel'));
  await close(socket);
}
