// oidc-provider's storage interface over one Map, which outlives a rebuilt Provider.

export class Memory {
  constructor(kind, store) {
    this.kind = kind;
    this.store = store;
  }

  key(id) {
    return `${this.kind} ${id}`;
  }

  async upsert(id, payload, expiresIn) {
    const until = expiresIn ? Date.now() + expiresIn * 1000 : Infinity;
    this.store.set(this.key(id), { payload, until });
    if (payload.uid) {
      this.store.set(`${this.kind} by uid ${payload.uid}`, id);
    }
  }

  async find(id) {
    const row = this.store.get(this.key(id));
    return row && row.until > Date.now() ? row.payload : undefined;
  }

  async findByUid(uid) {
    return this.find(this.store.get(`${this.kind} by uid ${uid}`));
  }

  async destroy(id) {
    this.store.delete(this.key(id));
  }

  async consume(id) {
    this.store.get(this.key(id)).payload.consumed = Math.floor(Date.now() / 1000);
  }

  async revokeByGrantId(grantId) {
    for (const [key, row] of this.store) {
      if (row?.payload?.grantId === grantId) {
        this.store.delete(key);
      }
    }
  }
}
