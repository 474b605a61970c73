// @ts-check
// One session for all tabs of an origin: they hear of each other's tokens through a
// BroadcastChannel, and a Web Lock lets one of them refresh at a time, so that a refresh token
// that rotates is sent once. Where Web Locks are missing (no https, not localhost) each tab is
// on its own.

/**
 * Without access and refresh where they are in HttpOnly cookies. rest: the REST dialect's, although
 * there is a client.
 * @typedef {{access?: string, refresh?: string, rest?: true}} Tokens
 */
/**
 * turn: grows with every change of the tokens, in all tabs alike. tokens: null when signed out.
 * @typedef {{turn: number, tokens: Tokens | null}} Session
 */
/**
 * What outlives the page. name: of the API and the client, whose session it is.
 * @typedef {{
 *   load(name: string): Session | null, save(name: string, session: Session): void,
 * }} Store
 */

const CATCH_UP_MS = 1000;       // for a tab's answer; they answer in a few

/**
 * A store in the browser. The access token is left out unless access is true.
 * @param {Storage} storage
 * @returns {Store}
 */
export function keepIn(storage, { access = false } = {}) {
  /** @param {string} name */
  function load(name) {
    try {
      const { turn, ...tokens } = JSON.parse(storage.getItem(name) ?? "");
      return Number.isFinite(turn) ? { turn, tokens } : null;
    } catch {
      return null;
    }
  }
  return {
    load,
    save(name, { turn, tokens }) {
      if ((load(name)?.turn ?? 0) > turn) {
        return;                 // another tab was faster
      }
      if (tokens) {
        const kept = access ? tokens : { ...tokens, access: undefined };
        storage.setItem(name, JSON.stringify({ turn, ...kept }));
      } else {
        storage.removeItem(name);
      }
    },
  };
}

/** Dispatches "change" whenever the tokens have changed, also by another tab. */
export class SharedSession extends EventTarget {
  /** @type {Session} */
  #session;
  /** @type {Set<() => void>} */
  #waiting = new Set();
  #forget = () => {};           // gives up the mark of the last turn
  #name;
  #store;
  /** @type {BroadcastChannel | null} */
  #channel;                     // null when closed

  /**
   * @param {string} name the same in all tabs
   * @param {Store | undefined} store
   * @param {Tokens | null} tokens when the store has none
   */
  constructor(name, store, tokens) {
    super();
    this.#name = name;
    this.#store = store;
    this.#session = store?.load(name) ?? { turn: 0, tokens };
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    this.#mark();
  }

  get turn() {
    return this.#session.turn;
  }

  get tokens() {
    return this.#session.tokens;
  }

  close() {
    this.#channel?.close();
    this.#channel = null;
    this.#forget();
  }

  /** @param {Session | "ask"} data */
  #hear(data) {
    if (data !== "ask") {
      this.#adopt(data);
    } else if (this.#session.turn) {
      this.#channel?.postMessage(this.#session);
    }
  }

  /** @param {Session} session */
  #adopt(session) {
    if (session.turn <= this.#session.turn) {
      return undefined;
    }
    this.#session = session;
    this.#store?.save(this.#name, session);
    const marked = this.#mark();
    this.#waiting.forEach((look) => look());
    this.dispatchEvent(new Event("change"));
    return marked;
  }

  /** @param {Tokens | null} tokens */
  async become(tokens) {
    const session = { turn: Math.max(Date.now(), this.#session.turn + 1), tokens };
    await this.#adopt(session);
    this.#channel?.postMessage(session);
  }

  // A message may be late, a held lock is seen at once: its name says how new this tab is.
  /** @returns {Promise<void>} */
  #mark() {
    const { turn } = this.#session;
    if (!navigator.locks || !turn || !this.#channel) {
      return Promise.resolve();
    }
    return new Promise((marked) => {
      navigator.locks.request(`${this.#name} ${turn}`, { mode: "shared" }, () => {
        marked();
        this.#forget();
        return new Promise((release) => { this.#forget = () => release(undefined); });
      }).catch(() => marked());
    });
  }

  async #catchUp() {
    const prefix = `${this.#name} `;
    const { held = [] } = await navigator.locks.query();
    const newest = Math.max(0, ...held.map(({ name = "" }) =>
      name.startsWith(prefix) ? Number(name.slice(prefix.length)) : 0));
    if (newest > this.#session.turn) {
      await this.#ask(newest);
    }
    const kept = this.#store?.load(this.#name);
    if (kept) {
      await this.#adopt(kept);      // of a tab that is closed by now
    }
  }

  /** @param {number} newest the turn that another tab has */
  async #ask(newest) {
    await new Promise((resolve) => {
      const look = () => this.#session.turn >= newest && resolve(undefined);
      this.#waiting.add(look);
      setTimeout(resolve, CATCH_UP_MS);
      this.#channel?.postMessage("ask");
    });
    this.#waiting.clear();
  }

  /**
   * One tab at a time, and up to date.
   * @template T
   * @param {() => Promise<T>} task
   * @returns {Promise<T>}
   */
  async alone(task) {
    if (!navigator.locks) {
      return task();
    }
    return navigator.locks.request(this.#name, async () => {
      await this.#catchUp();
      return task();
    });
  }
}
