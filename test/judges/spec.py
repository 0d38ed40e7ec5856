#!/usr/bin/env python3
"""Stripe's spec judges a record of the sandbox: python3 spec.py SPEC SOCKET RECORD [SOURCE...]

- Every shape of request that the client sent, or script/verify-stripe, is accepted by stripe-mock
  (on SOCKET), and the spec (the file SPEC) has each of its parameters. The same with a parameter
  misspelt is refused: else that would mean nothing.
- Whatever the sandbox answered as it comes, to whomever, is as the spec says. The same with a
  field missing, added or of another type is not.
- The client sent every path and parameter that its SOURCEs name.

The last line counts shapes of requests.
"""
from __future__ import annotations

import http.client
import json
import re
import socket
import sys
from collections import Counter
from typing import Any, Dict, Iterator, List, Optional, Tuple
from urllib.parse import parse_qsl, urlencode

from openapi import Operation, Spec, segments

# User agents
CLIENT = 'stripe_sync/'
VERIFY = 'stripe_sync-verify/'
SINCE = '2025-09-30'  # the spec is of one version, and older ones have other shapes

Entry = Dict[str, Any]  # of the record
Parameters = List[Tuple[str, str]]


class Mock(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__('localhost', timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)

    def refusal(self, method: str, path: str, parameters: Parameters) -> Optional[str]:
        encoded, body = urlencode(parameters), None
        headers = {'Authorization': 'Bearer sk_test_0123456789'}
        if method == 'POST':
            body = encoded
            headers['Content-Type'] = 'application/x-www-form-urlencoded'
        elif encoded:
            path += '?' + encoded
        self.request(method, path, body, headers)
        response = self.getresponse()
        answer = response.read().decode()
        return None if response.status == 200 else f'{response.status} {answer}'


class Judge:
    def __init__(self, spec: Spec, mock: Mock) -> None:
        self.spec, self.mock = spec, mock
        self.judged: Counter = Counter()
        self.findings: Counter = Counter()
        self.sent: Dict[str, Operation] = {}
        self.sent_names: set = set()
        self._shapes: set = set()

    def finding(self, what: str) -> None:
        self.findings[re.sub(r'\s+', ' ', re.sub(r'\d{3,}', '#', what))] += 1

    def judge(self, entry: Entry) -> None:
        operation = self.spec.operation(entry['method'], entry['path'])
        ours = (entry['user_agent'] or '').startswith((CLIENT, VERIFY))
        if operation is None:
            if ours or entry['status'] == 200:
                self.finding(f'{entry["method"]} {entry["path"]} is not in the spec')
            return
        if ours:
            self._judge_request(operation, entry)
        if entry['status'] < 500 and entry['version'] >= SINCE and not entry['switched']:
            self._judge_answer(operation, entry['status'], json.loads(entry['body']))

    def _first(self, *shape: Any) -> bool:
        known = shape in self._shapes
        self._shapes.add(shape)
        return not known

    def _judge_request(self, operation: Operation, entry: Entry) -> None:
        parameters = parse_qsl(entry['encoded'], keep_blank_values=True)
        if entry['user_agent'].startswith(CLIENT):
            self.sent[operation.name] = operation
            self.sent_names.update((operation.name, *segments(name)) for name, _ in parameters)
        if not self._first(operation.name, *(_shape(*parameter) for parameter in parameters)):
            return
        self.judged['requests accepted'] += 1
        for why in self._refusals(operation, entry, parameters):
            self.finding(f'{operation.name}: {why}')
        for i, (name, value) in enumerate(parameters):
            if name.startswith('metadata['):
                continue  # any name is right
            self.judged['misspelt ones refused'] += 1
            misspelt = re.sub(r'([a-z])(\W.*)?$', r'\1x\2', name)
            if not any(self._refusals(operation, entry, [
                    *parameters[:i], (misspelt, value), *parameters[i + 1:]])):
                self.finding(f'{operation.name}: {misspelt} is accepted, too')

    def _refusals(self, operation: Operation, entry: Entry,
                  parameters: Parameters) -> Iterator[str]:
        for name, _ in parameters:
            if not self.spec.knows(operation.parameters, segments(name)):
                yield f'{name} is not in the spec'
        refusal = self.mock.refusal(entry['method'], entry['path'], parameters)
        if refusal:
            yield f'stripe-mock says {refusal}'

    def _judge_answer(self, operation: Operation, status: int, answer: Any) -> None:
        schema = operation.answer(status)
        self.judged['answers right'] += 1
        for fault in self.spec.faults(schema, answer):
            self.finding(f'{operation.name}, answer {status}: {fault}')
        for event in answer.get('data', []) if operation.name == 'GET /v1/events' else []:
            # The spec leaves open what an event is about.
            about = event['data']['object']
            for fault in self.spec.faults(self.spec.object(about['object']), about):
                self.finding(f'{event["type"]}: {fault}')
        if not self._first('answer', operation.name, status):
            return
        wrong = {'with nonsense': {**answer, 'nonsense': 1}}
        for name in answer:
            wrong[f'with a wrong {name}'] = {**answer, name: [[]]}
        for name in self.spec.resolved(schema).get('required', []):
            wrong[f'without {name}'] = {n: v for n, v in answer.items() if n != name}
        for how, body in wrong.items():
            self.judged['wrong ones found'] += 1
            if not any(self.spec.faults(schema, body)):
                self.finding(f'{operation.name}, answer {status} {how} is accepted, too')

    def judge_source(self, source: str) -> None:
        """A name stands where a request's parameter is made if an operation sent knows it."""
        with open(source, encoding='utf-8') as file:
            text = file.read()
        templates = [name.split()[1] for name in self.sent]
        paths = re.findall(r'"(/v1/[^"]*)"', text)
        for path in paths:
            self.judged['paths and parameters sent'] += 1
            if not any(re.fullmatch(re.escape(path) + r'(\{\w+\})?', t) for t in templates):
                self.finding(f'{source}: no request to {path} is in the record')
        if not paths:
            return
        for name in set(re.findall(r'[({]"([a-z_]+(?:\[[a-z0-9_]*\])*)"', text)):
            knowing = [o for o in self.sent.values() if self.spec.knows(o.parameters, segments(name))]
            self.judged['paths and parameters sent'] += bool(knowing)
            if knowing and not any((o.name, *segments(name)) in self.sent_names for o in knowing):
                self.finding(f'{source}: no request with {name} is in the record')


def _shape(name: str, value: str) -> Tuple[str, str]:
    """Words stay: they may be of an enumeration."""
    if not re.fullmatch('[a-z_]{1,20}', value):
        value = next(kind for kind, pattern in (
            ('none', ''), ('integer', r'\d+'), ('decimal', r'[\d.]+'), ('text', '(?s).*'))
            if re.fullmatch(pattern, value))
    return re.sub(r'\d+', '0', name), value


def main() -> None:
    spec_path, socket_path, record, *sources = sys.argv[1:]
    judge = Judge(Spec(spec_path), Mock(socket_path))
    with open(record, encoding='utf-8') as file:
        for line in file:
            judge.judge(json.loads(line))
    for source in sources:
        judge.judge_source(source)
    for what, times in judge.findings.items():
        print(f'FAILED ({times} times): {what}')
    print(f'spec of version {judge.spec.version}')
    for what, number in judge.judged.items():
        print(f'{number:6} {what}')
    print(f'{judge.judged["requests accepted"]} passed, {len(judge.findings)} failed')
    sys.exit(1 if judge.findings else 0)


main()
