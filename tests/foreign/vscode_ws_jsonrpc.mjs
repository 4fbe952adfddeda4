// vscode-ws-jsonrpc: the JSON-RPC of editors, over `ws`. Its ids count from 0.

import assert from 'node:assert/strict';
import {once} from 'node:events';
import {randomUUID} from 'node:crypto';
import jsonrpc from 'vscode-jsonrpc';
import {createWebSocketConnection, toSocket} from 'vscode-ws-jsonrpc';
import WebSocket from 'ws';

const {CancellationTokenSource, ResponseError} = jsonrpc;
const {TRIO_SUPERVISOR_URL: url, TRIO_SUPERVISOR_TOKEN: token} = process.env;
const quiet = {error: assert.fail, warn: assert.fail, info: () => {}, log: () => {}};

async function open(options = {headers: {Authorization: `Bearer ${token}`}}) {
  const socket = new WebSocket(url, options);
  await once(socket, 'open');
  const sent = [];
  const transport = toSocket(socket);
  const send = (content) => {
    sent.push(JSON.parse(content));
    transport.send(content);
  };
  const connection = createWebSocketConnection({...transport, send}, quiet);
  connection.listen();
  return {connection, socket, sent};
}

async function close({connection, socket}) {
  const closed = once(socket, 'close');
  connection.dispose();
  socket.close();
  assert.equal((await closed)[0], 1005); // a close frame without a code, as it was sent
}

const refused = (promise, code, kind) =>
  assert.rejects(promise, (error) => {
    assert.ok(error instanceof ResponseError);
    assert.deepEqual([error.code, error.data.kind], [code, kind]);
    return true;
  });

export async function jobs() {
  const {connection, socket, sent} = await open();
  const job_id = randomUUID();
  const start = {name: 'nap', args: {seconds: 0}, job_id};
  assert.equal((await connection.sendRequest('job.start', start)).created, true);
  assert.equal(sent[0].id, 0);
  assert.equal((await connection.sendRequest('job.wait', {job_id})).job.result, 'slept');
  assert.equal((await connection.sendRequest('job.get', {job_id})).job.state, 'succeeded');
  assert.equal((await connection.sendRequest('job.run', {name: 'fail'})).job.state, 'failed');
  assert.ok((await connection.sendRequest('job.list')).jobs.length > 0);
  assert.ok((await connection.sendRequest('session.ping')).now);
  await close({connection, socket});
}

export async function cancelWithCertificate() {
  const {connection, socket} = await open();
  const job_id = randomUUID();
  await connection.sendRequest('job.start', {name: 'nap', job_id});
  const reply = await connection.sendRequest('job.cancel', {job_id, wait: 'finished'});
  assert.equal(reply.job.state, 'cancelled');
  assert.equal(reply.certificate.proof.means, 'task_exited');
  await close({connection, socket});
}

export async function cancelBeforeStart() {
  const {connection, socket} = await open();
  const job_id = randomUUID();
  const reply = await connection.sendRequest('job.cancel', {job_id, if_unknown: 'remember'});
  assert.equal(reply.outcome, 'recorded');
  const run = await connection.sendRequest('job.run', {name: 'nap', job_id});
  assert.equal(run.job.how, 'never_started');
  await close({connection, socket});
}

// The token source says `$/cancelRequest`; the wait is answered -32800, and the job lives.
export async function tokenEndsAWaitAndTheJobLives() {
  const {connection, socket, sent} = await open();
  const job_id = randomUUID();
  await connection.sendRequest('job.start', {name: 'gate', args: {name: job_id}, job_id});
  const source = new CancellationTokenSource();
  const waiting = connection.sendRequest('job.wait', {job_id}, source.token);
  source.cancel();
  await refused(waiting, -32800, 'request_cancelled');
  const told = sent.filter(({method}) => method === '$/cancelRequest');
  assert.deepEqual(told.map(({params}) => params), [{id: 1}]);
  const {job} = await connection.sendRequest('job.get', {job_id});
  assert.deepEqual([job.state, job.cancel_requested], ['running', false]);
  await connection.sendRequest('job.run', {name: 'open_gate', args: {name: job_id}});
  assert.equal((await connection.sendRequest('job.wait', {job_id})).job.state, 'succeeded');
  await close({connection, socket});
}

// The id of its first request is 0: that one can be cancelled, too.
export async function tokenOfRequestZero() {
  const {connection, socket, sent} = await open();
  const job_id = randomUUID();
  const source = new CancellationTokenSource();
  const run = connection.sendRequest('job.run', {name: 'nap', job_id}, source.token);
  source.cancel();
  // Only `job.run` ties the two together: its job is cancelled, and the answer is the final job.
  assert.equal((await run).job.state, 'cancelled');
  assert.equal(sent[0].id, 0);
  await close({connection, socket});
}

export async function events() {
  const {connection, socket} = await open();
  const job_id = randomUUID();
  const seen = [];
  const lines = [];
  const finished = new Promise((resolve) => {
    connection.onNotification('events.event', (params) => {
      seen.push(params.type);
      if (params.type === 'job.finished') resolve();
    });
  });
  connection.onNotification('events.log', ({text}) => lines.push(text));
  const subscribe = {filter: {job_ids: [job_id]}, logs: true};
  const {subscription_id} = await connection.sendRequest('events.subscribe', subscribe);
  await connection.sendRequest('job.start', {name: 'talk', args: {lines: 1}, job_id});
  await finished;
  assert.deepEqual(seen, ['job.starting', 'job.started', 'job.finished']);
  assert.deepEqual(lines, ['line 1: ünïcödé ☂']);
  await connection.sendRequest('events.unsubscribe', {subscription_id});
  await close({connection, socket});
}

export async function errors() {
  const {connection, socket} = await open();
  await refused(connection.sendRequest('job.get', {job_id: 'x'}), -32001, 'job_not_found');
  // Several parameters go by position.
  await refused(connection.sendRequest('job.get', 'x', 'y'), -32602, 'invalid_params');
  await refused(connection.sendRequest('job.nothing'), -32601, 'method_not_found');
  await close({connection, socket});
}

export async function hello() {
  const {connection, socket} = await open({});
  const told = await connection.sendRequest('session.hello', {token});
  assert.ok(told.scopes.includes('cancel'));
  await close({connection, socket});
}

export async function notLetIn() {
  const {connection, socket} = await open({});
  const complaints = [];
  connection.onError(([error]) => complaints.push(error.message));
  const closed = new Promise((resolve) => connection.onClose(resolve));
  await refused(connection.sendRequest('job.list'), -32015, 'unauthenticated');
  await closed;
  assert.equal(complaints.length, 1);
  assert.match(complaints[0], /code = 4401, reason = unauthenticated/);
}

export async function discover() {
  const {connection, socket} = await open();
  const document = await connection.sendRequest('rpc.discover');
  assert.ok(document.methods.some(({name}) => name === 'job.cancel'));
  await close({connection, socket});
}
