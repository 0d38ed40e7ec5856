"""What was asked and answered, for others to judge: a file of one JSON object per line."""
from __future__ import annotations

import json
import os

from config import Config
from idempotency import Answer
from request_log import Request


class Record:
    """Several sandboxes may write to one file: each line is one write, at its end."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def add(self, request: Request, config: Config, answer: Answer) -> None:
        os.write(self._file, json.dumps({
            'method': request.method, 'path': request.path, 'encoded': request.encoded,
            'version': request.stripe_version or config['api_version'],
            'user_agent': request.user_agent, 'switched': config.switched,
            'status': answer.status, 'body': answer.body.decode(errors='replace'),
        }).encode() + b'\n')
