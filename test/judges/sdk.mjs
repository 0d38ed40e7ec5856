// Stripe's official SDK judges the sandbox: node judge.mjs http://127.0.0.1:PORT
// Every check starts from an empty sandbox; objects and errors are the SDK's own.
import assert from 'node:assert/strict';
import Stripe from 'stripe';

const base = new URL(process.argv[2] ?? 'http://127.0.0.1:12111');
const KEY = 'sk_test_judge_0123456789';

function client(key = KEY, options = {}) {
  return new Stripe(key, {
    protocol: base.protocol.slice(0, -1),
    host: base.hostname,
    port: Number(base.port),
    maxNetworkRetries: 0,
    telemetry: false,
    ...options,
  });
}

async function control(method, path, body) {
  const reply = await fetch(new URL(`/_sandbox/${path}`, base), {
    method, body: body && JSON.stringify(body),
  });
  assert.equal(reply.status, 200, `${method} ${path}`);
  return reply.json();
}

/** The promise is refused with this class of the SDK; returns the error. */
async function refused(promise, type) {
  const error = await promise.then(() => assert.fail(`no ${type}`), (reason) => reason);
  assert.equal(error.type, type, String(error));
  return error;
}

const ids = (list) => list.map((object) => object.id);
const coupon = (stripe, id, more = {}) => stripe.coupons.create({ id, percent_off: 50, ...more });
const code = (stripe, couponId, more = {}) =>
  stripe.promotionCodes.create({ promotion: { type: 'coupon', coupon: couponId }, ...more });

const checks = {
  async 'account'(stripe) {
    const account = await stripe.accounts.retrieveCurrent();
    assert.match(account.id, /^acct_/);
    assert.match(account.lastResponse.requestId, /^req_/);
    assert.match(account.lastResponse.apiVersion, /^\d{4}-\d{2}-\d{2}\.\w+$/);
  },

  async 'coupon: create, retrieve, update, list, delete'(stripe) {
    const made = await coupon(stripe, 'HALF', {
      percent_off: 12.5, name: 'Über 50 % & more', duration: 'repeating', duration_in_months: 3,
      metadata: { row: '42', note: "it's [a] test!" },
    });
    assert.equal(made.percent_off, 12.5);
    assert.equal(made.name, 'Über 50 % & more');
    assert.deepEqual(made.metadata, { row: '42', note: "it's [a] test!" });
    assert.deepEqual(await stripe.coupons.retrieve('HALF'), made);
    const changed = await stripe.coupons.update('HALF', { metadata: { row: '', more: '1' } });
    assert.deepEqual(changed.metadata, { note: "it's [a] test!", more: '1' });
    assert.deepEqual(ids((await stripe.coupons.list()).data), ['HALF']);
    assert.equal((await stripe.coupons.del('HALF')).deleted, true);
    const gone = await refused(stripe.coupons.retrieve('HALF'), 'StripeInvalidRequestError');
    assert.deepEqual([gone.statusCode, gone.code], [404, 'resource_missing']);
  },

  async 'coupon: amount, currency options, products'(stripe) {
    const product = await stripe.products.create({ name: 'Plan' });
    const made = await stripe.coupons.create({
      amount_off: 12900, currency: 'usd', duration: 'forever',
      currency_options: { eur: { amount_off: 11900 } }, applies_to: { products: [product.id] },
    });
    assert.equal(made.applies_to, undefined);
    assert.equal(made.currency_options, undefined);
    const full = await stripe.coupons.retrieve(made.id, {
      expand: ['applies_to', 'currency_options'],
    });
    assert.deepEqual(full.applies_to, { products: [product.id] });
    assert.equal(full.currency_options.eur.amount_off, 11900);
  },

  async 'promotion code: create, update, list, expand'(stripe) {
    await coupon(stripe, 'C');
    const customer = await stripe.customers.create({ email: 'a@example.com' });
    const made = await code(stripe, 'C', {
      code: 'Fall-20', customer: customer.id, max_redemptions: 5,
      restrictions: {
        first_time_transaction: true, minimum_amount: 500, minimum_amount_currency: 'usd',
      },
    });
    assert.deepEqual(made.promotion, { type: 'coupon', coupon: 'C' });
    assert.equal(made.restrictions.minimum_amount, 500);
    const off = await stripe.promotionCodes.update(made.id, { active: false });
    assert.equal(off.active, false);
    const found = await stripe.promotionCodes.list({ code: 'FALL-20', active: false, coupon: 'C' });
    assert.deepEqual(ids(found.data), [made.id]);
    const [deep] = (await stripe.promotionCodes.list({
      expand: ['data.promotion.coupon', 'data.customer'],
    })).data;
    assert.equal(deep.promotion.coupon.percent_off, 50);
    assert.equal(deep.customer.email, 'a@example.com');
  },

  async 'promotion code: an older SDK version'() {
    const old = client(KEY, { apiVersion: '2025-08-27.basil' });
    await coupon(old, 'C');
    const made = await old.promotionCodes.create({ coupon: 'C' });
    assert.equal(made.coupon.id, 'C');
    assert.equal(made.promotion, undefined);
  },

  async 'products and prices'(stripe) {
    const product = await stripe.products.create({
      id: 'plan', name: 'Plan', default_price_data: {
        currency: 'usd', unit_amount: 19900, recurring: { interval: 'month' },
      },
    });
    const yearly = await stripe.prices.create({
      product: 'plan', currency: 'usd', unit_amount: 199000, lookup_key: 'pro_yearly',
      recurring: { interval: 'year' },
    });
    assert.equal(String(yearly.unit_amount_decimal), '199000');
    const listed = async (filters) => ids((await stripe.prices.list(filters)).data);
    assert.deepEqual(await listed({ lookup_keys: ['pro_yearly'] }), [yearly.id]);
    await stripe.prices.update(yearly.id, { active: false });
    assert.deepEqual(await listed({ product: 'plan' }), [product.default_price]);
    assert.deepEqual(await listed({ active: false }), [yearly.id]);
    const full = await stripe.prices.retrieve(yearly.id, {
      expand: ['product', 'currency_options'],
    });
    assert.equal(full.product.name, 'Plan');
    assert.equal(full.currency_options.usd.unit_amount, 199000);
  },

  async 'auto-pagination, both ways'(stripe) {
    const made = [];
    for (let i = 0; i < 230; i++) made.push((await coupon(stripe, `C${i}`)).id);
    const down = [];
    for await (const object of stripe.coupons.list({ limit: 100 })) down.push(object.id);
    assert.deepEqual(down, [...made].reverse());
    const up = [];
    for await (const object of stripe.coupons.list({ limit: 100, ending_before: 'C0' })) {
      up.push(object.id);
    }
    assert.deepEqual(up, made.slice(1));
    const all = await stripe.coupons.list().autoPagingToArray({ limit: 1000 });
    assert.equal(all.length, 230);
  },

  async 'events'(stripe) {
    await coupon(stripe, 'C', { name: 'Old' });
    await stripe.coupons.update('C', { name: 'New' });
    const { data } = await stripe.events.list({ types: ['coupon.updated', 'coupon.deleted'] });
    assert.equal(data.length, 1);
    assert.deepEqual(data[0].data.previous_attributes, { name: 'Old' });
    assert.equal((await stripe.events.retrieve(data[0].id)).data.object.name, 'New');
    assert.match(data[0].request.id, /^req_/);
  },

  async 'errors: invalid request'(stripe) {
    await coupon(stripe, 'C');
    const taken = await refused(coupon(stripe, 'C'), 'StripeInvalidRequestError');
    assert.deepEqual([taken.code, taken.param, taken.message],
      ['resource_already_exists', undefined, 'Coupon already exists.']);
    const unknown = await refused(stripe.coupons.update('C', { percent_off: 5 }),
      'StripeInvalidRequestError');
    assert.deepEqual([unknown.code, unknown.param], ['parameter_unknown', 'percent_off']);
    await code(stripe, 'C', { code: 'SALE' });
    const clash = await refused(code(stripe, 'C', { code: 'sale' }),
      'StripeInvalidRequestError');
    assert.deepEqual([clash.code, clash.param], [undefined, undefined]);
    assert.match(clash.message, /^An active promotion code with/);
    const missing = await refused(code(stripe, 'NO'), 'StripeInvalidRequestError');
    assert.deepEqual([missing.code, missing.param], ['resource_missing', 'promotion[coupon]']);
  },

  async 'errors: authentication and permission'(stripe) {
    await refused(client('pk_test_0123456789').coupons.list(), 'StripeAuthenticationError');
    await control('POST', 'keys', { key: KEY, forbid: ['POST /v1/coupons'] });
    await refused(coupon(stripe, 'C'), 'StripePermissionError');
    await control('POST', 'keys', { key: KEY, revoked: true });
    const expired = await refused(stripe.coupons.list(), 'StripeAuthenticationError');
    assert.equal(expired.code, 'api_key_expired');
  },

  async 'errors: rate limit'(stripe) {
    await control('POST', 'faults', { fault: 'status', status: 429 });
    await refused(stripe.coupons.list(), 'StripeRateLimitError');
  },

  async 'idempotency: replay and mismatch'(stripe) {
    const options = { idempotencyKey: 'judge' };
    const first = await stripe.coupons.create({ percent_off: 5 }, options);
    const second = await stripe.coupons.create({ percent_off: 5 }, options);
    assert.equal(second.id, first.id);
    assert.equal(second.lastResponse.headers['idempotent-replayed'], 'true');
    assert.equal(second.lastResponse.idempotencyKey, 'judge');
    await refused(stripe.coupons.create({ percent_off: 6 }, options), 'StripeIdempotencyError');
  },

  async 'retries of the SDK: lost answer, 409, 500'() {
    const stripe = client(KEY, { maxNetworkRetries: 2 });
    const faults = [
      { fault: 'reset_after' }, { fault: '409_in_flight' }, { fault: 'status', status: 500 },
    ];
    for (const [i, fault] of faults.entries()) {
      await control('POST', 'faults', fault);
      await coupon(stripe, `C${i}`);
    }
    const { requests } = await control('GET', 'requests?method=POST');
    assert.equal(requests.length, 2 * faults.length);
    assert.deepEqual(requests.map((entry) => entry.replayed),
      [false, true, false, false, false, false]);
  },

  async 'connection errors'(stripe) {
    for (const fault of ['truncate', 'invalid_json']) {
      await control('POST', 'faults', { fault });
      await assert.rejects(stripe.accounts.retrieveCurrent());
    }
    await control('POST', 'faults', { fault: 'reset_before', times: 0 });
    await refused(stripe.coupons.list(), 'StripeConnectionError');
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await control('POST', 'reset');
    await check(client());
  } catch (error) {
    failed += 1;
    console.error(`FAILED: ${name}\n${error.stack ?? error}`);
  }
}
await control('POST', 'reset'); // no fault is left behind
console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
