// node run.mjs FILE CASE: run one exported function of a file, within a bound.
// It fails if the case throws, hangs, or leaves a promise that nobody awaits to fail.

import {pathToFileURL} from 'node:url';

const patience = 30_000;
const [file, name] = process.argv.slice(2);

setTimeout(() => {
  console.error(`${name} hangs`);
  process.exit(1);
}, patience).unref();

const cases = await import(pathToFileURL(file).href);
await cases[name]();
console.log(`${name} passed`);
// A socket left open would keep the program alive: that is a failure of the case, too.
setTimeout(() => {
  console.error(`${name} left something open`);
  process.exit(1);
}, 5_000).unref();
