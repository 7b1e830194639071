"""Sessions: one per attached client process, from `hello` until long after its executor ended.

A session is kept after its end so that the client can still ask why; the table is bounded, and a
session with a living executor is never dropped.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from vgpu.protocol.control import ClientIdentity
from vgpu.worker.executor_process import ExecutorProcess

# A session without executor costs a few hundred bytes; a program that only asks for device
# properties stays attached without one for as long as it runs.
MAX_SESSIONS = 4096


@dataclass
class Session:
    """One attached client process."""

    client: ClientIdentity
    id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    since: float = field(default_factory=time.time)
    executor: ExecutorProcess | None = None
    binding: bool = False
    end_reason: str | None = None

    @property
    def name(self) -> str:
        """What logs call it: the id itself is a secret."""
        return f"{self.client.program or 'client'}[{self.client.pid}]@{self.client.host or '?'}"

    @property
    def alive(self) -> bool:
        """Whether an executor serves it, or is about to."""
        return self.binding or (self.executor is not None and self.end_reason is None)


class SessionTable:
    """Sessions by id, the least recently admitted first."""

    def __init__(self, limit: int = MAX_SESSIONS) -> None:
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._limit = limit

    def admit(self, client: ClientIdentity) -> Session | None:
        """A new session; None when the table is full of living ones."""
        if len(self._sessions) >= self._limit:
            idle = next((s.id for s in self._sessions.values() if not s.alive), None)
            if idle is None:
                return None
            del self._sessions[idle]
        session = Session(client)
        self._sessions[session.id] = session
        return session

    def find(self, session_id: bytes) -> Session | None:
        """The session with that id."""
        return self._sessions.get(session_id)

    def of_executor(self, executor: ExecutorProcess) -> Session | None:
        """The session that an executor serves or served."""
        return next((s for s in self._sessions.values() if s.executor is executor), None)

    def living(self) -> list[Session]:
        """Sessions with an executor."""
        return [s for s in self._sessions.values() if s.executor is not None and s.alive]
