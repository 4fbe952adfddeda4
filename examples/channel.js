// A page's connection to a supervisor. It comes back by itself, and notices what was lost on the way.
//
//   list()         reads what is there, and returns the position {instance, seq} from which to watch
//   event(params)  is given each event from then on, once and in order
//   ready()        is called whenever it watches again: ask again what may have been lost
//   say(text)      is told how it goes

export class Channel {
  #socket; #answers; #place; #quiet; #retry; #pause = 0; #patience = 20; #failures = 0; #ids = 0

  constructor(options) { Object.assign(this, options); this.#connect() }

  close() { clearTimeout(this.#retry); clearTimeout(this.#quiet); this.#socket?.close(); this.#socket = undefined }

  call(method, params) {
    const id = ++this.#ids
    this.#socket.send(JSON.stringify({jsonrpc: '2.0', id, method, params}))
    return new Promise((resolve, reject) => this.#answers.set(id, {resolve, reject}))
  }

  get open() { return this.#socket?.readyState === WebSocket.OPEN }

  #connect() {
    const mine = this.#socket = new WebSocket(this.url)
    this.#answers = new Map(); this.#hear(); this.say('connecting ...')
    mine.onopen = () => this.#begin().catch((error) => mine === this.#socket && this.say(error.message))
    mine.onmessage = ({data}) => mine === this.#socket && this.#receive(JSON.parse(data))
    mine.onclose = ({code, reason}) => mine === this.#socket && this.#lost(`${code} ${reason}`, code === 4401)
  }

  async #begin() {  // a browser can send no header: the token goes with the first message
    const hello = await this.call('session.hello', {token: this.token, client: this.client})
    this.#patience = 2 * (hello.limits.bookmark_seconds ?? 10)
    const subscribe = () => this.call('events.subscribe', {since: this.#place})
    const list = async () => { this.#place = undefined; this.#place = await this.list() }
    if (!this.#place) await list()
    await subscribe().catch((error) => error.data?.kind === 'replay_gone' ? list().then(subscribe) : Promise.reject(error))
    this.#failures = 0; this.say(`watching instance ${this.#place.instance}`); this.ready()
  }

  #receive({id, method, params, result, error}) {
    this.#hear()
    if (error) return this.#answers.get(id)?.reject(Object.assign(new Error(error.message), error))
    if (!method) return this.#answers.get(id)?.resolve(result)
    if (method === 'session.closing') this.#pause = params.reconnect_after
    if (method !== 'events.event' && method !== 'events.bookmark') return
    if (params.prev_seq !== this.#place.seq) return this.#lost('a message was lost')  // come back for it
    this.#place.seq = params.seq
    if (params.type) this.event(params)
  }

  #hear() {
    clearTimeout(this.#quiet)
    this.#quiet = setTimeout(() => this.#lost('nothing was heard for too long'), this.#patience * 1000)
  }

  #lost(what, forGood = false) {
    this.close()
    if (forGood) return this.say(`not let in: ${what}`)
    const wait = Math.max(this.#pause, Math.min(30, 2 ** this.#failures++ / 2) * (0.5 + Math.random() / 2))
    this.#pause = 0; this.say(`connection lost (${what}), trying again in ${wait.toFixed(1)} s`)
    this.#retry = setTimeout(() => this.#connect(), wait * 1000)
  }
}
