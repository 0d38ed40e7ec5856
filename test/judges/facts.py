"""What is assumed of Stripe without a source, how to find out, and what either outcome means."""
from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from typing import Any, Callable, List, Tuple

from probe import NAME, Answer, Probe, Unseen, Untold

Found = Tuple[bool, str]  # whether it is as assumed, and what was seen


@dataclass
class Fact:
    assumed: str
    confirmed: str  # what it means for us
    otherwise: str
    check: Callable[[Probe], Found]


FACTS: List[Fact] = []


def fact(assumed: str, *, confirmed: str, otherwise: str) -> Callable:
    def add(check: Callable[[Probe], Found]) -> Callable[[Probe], Found]:
        FACTS.append(Fact(assumed, confirmed, otherwise, check))
        return check
    return add


def refused(answer: Answer, *params: str) -> Found:
    """As assumed if it was refused, and for one of these parameters if any are named."""
    if not answer.ok and (answer.status != 400 or params and answer.param not in params):
        raise Untold(f'refused for another reason: {answer}')
    return not answer.ok, str(answer)


def accepted(answer: Answer, *params: str) -> Found:
    is_refused, seen = refused(answer, *params)
    return not is_refused, seen


def told_by(probe: Probe, type: str, about: Callable[[dict], bool], assumed: bool) -> Found:
    """Whether such an event is sent. One that is not seen may be late."""
    if not probe.event(type, about):
        raise Unseen(not assumed)
    return assumed, 'there is one'


# --- coupons -------------------------------------------------------------------------------------

@fact('coupon ids hold only A-Z a-z 0-9 _ -',
      confirmed='the ids we choose are made of these',
      otherwise='the ids we choose stay as they are; ids chosen elsewhere may hold anything')
def coupon_id_characters(probe: Probe) -> Found:
    others = ('.', ' ', ':', '@', '+', '~', 'é')
    taken = [repr(each) for each in others
             if not refused(probe.coupon(id=f'{probe.new_id()}{each}x'), 'id')[0]]
    return not taken, f'accepted: {", ".join(taken)}' if taken else 'each of seven others is refused'


@fact('a third decimal of percent_off is refused',
      confirmed='rows with three decimals stay parked, and Stripe agrees',
      otherwise='Stripe would sell another percentage: rows with three decimals must stay parked')
def third_decimal(probe: Probe) -> Found:
    answer = probe.coupon(percent_off='33.333')
    if answer.ok:
        return False, f'accepted as {answer.body["percent_off"]}'
    return refused(answer, 'percent_off')


@fact('an amount off may be for ever',
      confirmed='such rows are sent as they are',
      otherwise="such rows end in error with Stripe's words; they are never sent as repeating")
def forever_amount(probe: Probe) -> Found:
    return accepted(probe.coupon(amount_off=100, duration='forever'), 'duration', 'amount_off')


@fact('amounts in UGX are multiples of 100',
      confirmed='rows in UGX could be sent, as those in ISK are: the amount times 100',
      otherwise='UGX may be counted in whole shillings: rows in UGX must stay parked')
def ugx(probe: Probe) -> Found:
    return refused(probe.coupon(amount_off=10050, currency='ugx'), 'amount_off')


@fact("expanded currency_options hold the coupon's own currency, too",
      confirmed='the comparison of terms leaves it out',
      otherwise='the comparison of terms finds nothing to leave out')
def currency_options(probe: Probe) -> Found:
    coupon = probe.coupon(amount_off=100, **{'currency_options[eur][amount_off]': 90}).made
    options = probe.must('GET', f'/v1/coupons/{coupon}',
                         {'expand[]': 'currency_options'})['currency_options']
    return 'usd' in options, f'it holds {" ".join(sorted(options))}'


@fact("a deleted coupon's id can't be used again",
      confirmed='an id stands for one coupon for good',
      otherwise='an id may come back with other terms: what is known of a deleted one must go')
def deleted_id(probe: Probe) -> Found:
    coupon = probe.coupon().made
    probe.must('DELETE', f'/v1/coupons/{coupon}')
    return refused(probe.coupon(id=coupon))


@fact('an expanded promotion code shows a deleted coupon as it was, not valid',
      confirmed='its terms can still be compared',
      otherwise='a marker is read as a coupon that is not valid, without terms')
def deleted_coupon_expanded(probe: Probe) -> Found:
    coupon = probe.coupon().made
    code = probe.code(coupon).made
    probe.must('DELETE', f'/v1/coupons/{coupon}')
    shown = probe.must('GET', f'/v1/promotion_codes/{code}',
                       {'expand[]': 'promotion.coupon'})['promotion']['coupon']
    if not isinstance(shown, dict):
        return False, f'it shows {shown}'
    return 'percent_off' in shown, f'it shows {", ".join(sorted(shown))}'


@fact('deleting a coupon sends no promotion_code.updated',
      confirmed='codes that ended with their coupon are found by reading them',
      otherwise='events tell of codes that ended with their coupon')
def event_of_delete(probe: Probe) -> Found:
    coupon = probe.coupon().made
    code = probe.code(coupon).made
    probe.must('DELETE', f'/v1/coupons/{coupon}')
    return told_by(probe, 'promotion_code.updated', lambda obj: obj['id'] == code, False)


# --- promotion codes -----------------------------------------------------------------------------

@fact('minimum_amount needs minimum_amount_currency',
      confirmed='we always send both',
      otherwise='we send both all the same; a code made elsewhere may lack the currency')
def minimum_pair(probe: Probe) -> Found:
    return refused(probe.code(probe.coupon().made, {'restrictions[minimum_amount]': 500}))


@fact('switching on a code whose text is taken is refused as creating one is',
      confirmed='the row is shown as in conflict with the code that has the text',
      otherwise='the refusal must be told by looking for the text, whatever it says')
def reactivation_clash(probe: Probe) -> Found:
    coupon, text = probe.coupon().made, {'code': probe.new_id()}
    first = probe.code(coupon, text).made
    probe.must('POST', f'/v1/promotion_codes/{first}', {'active': 'false'})
    probe.code(coupon, text).made
    creating = probe.code(coupon, text)
    switching = probe.ask('POST', f'/v1/promotion_codes/{first}', {'active': 'true'})
    return refused(switching)[0] and str(switching) == str(creating), str(switching)


@fact('a redemption sends no promotion_code.updated',
      confirmed='counters are read, not awaited',
      otherwise='events tell when to read counters')
def event_of_redemption(probe: Probe) -> Found:
    code = probe.code(probe.coupon().made).made
    probe.redeem(code)
    return told_by(probe, 'promotion_code.updated', lambda obj: obj['id'] == code, False)


@fact("a subscription's discount sends customer.discount.created",
      confirmed='that event tells which code a customer used',
      otherwise='which code was used is read from the subscription')
def event_of_discount(probe: Probe) -> Found:
    code = probe.code(probe.coupon().made).made
    probe.redeem(code)
    return told_by(probe, 'customer.discount.created', lambda obj: obj['promotion_code'] == code,
                   True)


# --- what discounts do ---------------------------------------------------------------------------

def _with_amount_off(probe: Probe, amount: int, **more: Any) -> dict:
    return {'discounts[0][coupon]': probe.coupon(amount_off=amount, **more).made}


def _invoice(answer: Answer) -> dict:
    if not answer.ok:
        raise Untold(f'no preview of an invoice: {answer}')
    return answer.body


@fact('an amount off a product comes off once, whatever the quantity',
      confirmed='custom prices hold for one unit: rows that sell several get less off per unit',
      otherwise='it comes off each unit: custom prices hold for any quantity')
def once_per_line(probe: Probe) -> Found:
    product = probe.product()
    discount = _with_amount_off(probe, 3000, **{'applies_to[products][0]': product})
    invoice = _invoice(probe.preview([10000], discount, product, quantity=2))
    off = sum(each['amount'] for each in invoice['total_discount_amounts'])
    return off == 3000, f'{off} off two units at 10000, with an amount_off of 3000'


@fact('an amount off is spread over the lines in proportion',
      confirmed='amounts per line are read, and add up',
      otherwise='amounts per line are read, never computed')
def spread(probe: Probe) -> Found:
    invoice = _invoice(probe.preview([10000, 20000], _with_amount_off(probe, 3000)))
    off = {line['amount']: sum(each['amount'] for each in line['discount_amounts'])
           for line in invoice['lines']['data']}
    return off == {10000: 1000, 20000: 2000}, f'3000 off: {off}'


@fact('an amount off comes off before a tax that is not included',
      confirmed='customers save the amount and the tax on it',
      otherwise='the price that customers see is not the one computed: say so where prices bear tax')
def before_tax(probe: Probe) -> Found:
    tax = probe.make('/v1/tax_rates', {'display_name': NAME, 'inclusive': 'false', 'percentage': 10},
                     ('POST', '', {'active': 'false'})).made
    invoice = _invoice(probe.preview([10000], {
        **_with_amount_off(probe, 5000), 'subscription_details[items][0][tax_rates][0]': tax}))
    amount = sum(each['amount'] for each in invoice['total_taxes'])
    return amount == 500, f'10 % tax on 10000 with 5000 off: {amount}'


@fact('Checkout refuses to take less than the minimum charge',
      confirmed='a code that leaves some cents fails in front of the customer',
      otherwise='a code that leaves some cents works in Checkout')
def remainder(probe: Probe) -> Found:
    return refused(probe.session([1000], _with_amount_off(probe, 990)))


@fact('a Checkout session takes a box for codes or a discount, not both',
      confirmed='an application offers the one or the other',
      otherwise='an application may offer both')
def box_and_discount(probe: Probe) -> Found:
    return refused(probe.session([1000], {**_with_amount_off(probe, 100),
                                          'allow_promotion_codes': 'true'}))


@fact("a session's discount by code leaves the coupon empty",
      confirmed='the coupon is found through the code',
      otherwise='the coupon is named as well; it is found through the code all the same')
def coupon_of_session(probe: Probe) -> Found:
    code = probe.code(probe.coupon().made).made
    answer = probe.session([1000], {'discounts[0][promotion_code]': code})
    if not answer.ok:
        raise Untold(f'no session: {answer}')
    coupon = answer.body['discounts'][0].get('coupon')
    return coupon is None, f'coupon: {coupon}'


# --- lists ---------------------------------------------------------------------------------------

@fact('a deleted object is no cursor any more',
      confirmed='a pass whose cursor was deleted starts its range again',
      otherwise='a pass goes on after it')
def deleted_cursor(probe: Probe) -> Found:
    coupon = probe.coupon().made
    probe.must('DELETE', f'/v1/coupons/{coupon}')
    return refused(probe.ask('GET', '/v1/coupons', {'starting_after': coupon, 'limit': 1}),
                   'starting_after')


@fact('objects of one second are listed newest first',
      confirmed='a page ends at a moment, not inside a second',
      otherwise='a page may end inside a second: ranges must overlap by one')
def same_second(probe: Probe) -> Found:
    # Ids in descending order, so that an order by id is another one.
    first = probe.new_id()
    coupons = [probe.coupon(id=f'{first}-{9 - i}').body for i in range(5)]
    if len({coupon['created'] for coupon in coupons}) == len(coupons):
        raise Untold('no two were made in one second')
    listed = [coupon['id'] for coupon in
              probe.must('GET', '/v1/coupons', {'limit': 100})['data']]
    mine = [id for id in listed if id.startswith(first)]
    made = [coupon['id'] for coupon in reversed(coupons)]
    return mine == made, 'they are' if mine == made else 'they are in another order'


@fact('payment methods without a customer are listed for all customers',
      confirmed='one pass finds them all',
      otherwise='they must be listed for each customer')
def payment_methods(probe: Probe) -> Found:
    customers = {probe.customer(), probe.customer()}
    for customer in customers:
        probe.must('POST', '/v1/payment_methods/pm_card_visa/attach', {'customer': customer})
    listed = probe.must('GET', '/v1/payment_methods', {'limit': 100})['data']
    seen = len(customers & {method['customer'] for method in listed})
    return seen == 2, f'those of {seen} of 2 customers are listed'


def _ten_of_eleven(part: dict) -> Found:
    return len(part['data']) == 10, f'{len(part["data"])} of 11, has_more: {part["has_more"]}'


ELEVEN = [1000000 + i for i in range(11)]


@fact('an invoice shows its first 10 lines',
      confirmed='has_more tells of further ones, which are listed',
      otherwise='has_more tells of further ones all the same')
def first_lines(probe: Probe) -> Found:
    return _ten_of_eleven(_invoice(probe.preview(ELEVEN))['lines'])


@fact('a subscription shows its first 10 items',
      confirmed='has_more tells of further ones, which are listed',
      otherwise='has_more tells of further ones all the same')
def first_items(probe: Probe) -> Found:
    return _ten_of_eleven(probe.subscription(ELEVEN)['items'])


@fact('a Checkout session shows its first 10 line items',
      confirmed='has_more tells of further ones, which are listed',
      otherwise='has_more tells of further ones all the same')
def first_line_items(probe: Probe) -> Found:
    answer = probe.session(ELEVEN, {'expand[]': 'line_items'})
    if not answer.ok:
        raise Untold(f'no session: {answer}')
    return _ten_of_eleven(answer.body['line_items'])


@fact('a subscription holds at most 20 items',
      confirmed='its items fit into one answer of 100',
      otherwise='its items are listed until has_more is false, however many')
def many_items(probe: Probe) -> Found:
    return refused(probe.preview([1000000 + i for i in range(21)]))


# --- transport -----------------------------------------------------------------------------------

@fact('answers are compressed if asked for',
      confirmed='passes over many objects can ask for it',
      otherwise='asking for it gains nothing')
def compression(probe: Probe) -> Found:
    answer = probe.ask('GET', '/v1/promotion_codes', {'limit': 100}, Accept_Encoding='gzip')
    encoding = answer.headers.get('Content-Encoding')
    return encoding == 'gzip', f'Content-Encoding: {encoding}'


@fact('connections stay open between requests',
      confirmed='requests share a connection',
      otherwise='each request pays for a connection of its own')
def keep_alive(probe: Probe) -> Found:
    probe.must('GET', '/v1/products', {'limit': 1})
    before = probe.connection.sock
    probe.must('GET', '/v1/products', {'limit': 1})
    same = before is not None and probe.connection.sock is before
    return same, 'the same connection served two' if same else 'it was closed'


@fact('HTTP/2 is spoken',
      confirmed='parallel requests can share a connection',
      otherwise='parallel requests take a connection each')
def http2(probe: Probe) -> Found:
    if probe.url.scheme != 'https':
        raise Untold('only seen with https')
    context = ssl.create_default_context()
    context.set_alpn_protocols(['h2', 'http/1.1'])
    host, port = probe.url.hostname, probe.url.port or 443
    with socket.create_connection((host, port)) as plain:
        with context.wrap_socket(plain, server_hostname=host) as connection:
            chosen = connection.selected_alpn_protocol()
    return chosen == 'h2', f'{chosen} was chosen'


# --- what no test key can find out ---------------------------------------------------------------

def _untold(why: str) -> Callable[[Probe], Found]:
    def check(_: Probe) -> Found:
        raise Untold(why)
    return check


for _assumed, _why, _otherwise in (
        ('keys of an organization begin with sk_org_', 'it takes an organization',
         'they are refused as no keys'),
        ('an idempotency key counts within one account and mode', 'it takes keys of two accounts',
         'account and mode are part of each key all the same'),
        ('a cursor of /v1/events older than 30 days is resource_missing',
         'it takes an event that old', 'a gap is told by the age of the cursor'),
        ('an event may show up late in /v1/events', 'it takes luck',
         'polls overlap by minutes all the same'),
        ('a webhook must be answered within seconds', 'it takes an endpoint that Stripe reaches',
         'deliveries are stored before anything else all the same'),
        ('an event may have several MB', 'it takes such an object', 'the size limit is a setting')):
    fact(_assumed, confirmed='', otherwise=_otherwise)(_untold(_why))
