"""A real SMTP server that keeps what it was sent, and does what a test wants of it."""
import asyncio
import email
import email.policy
import re
import ssl
import threading
import time

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from . import ports

SENDER = "Site <noreply@site.example>"


class Mail:
    """One mail as a reader of mails sees it."""

    def __init__(self, raw, envelope=None):
        self.raw = raw
        self.sender = envelope.mail_from if envelope else None
        self.recipients = list(envelope.rcpt_tos) if envelope else None
        self.message = email.message_from_bytes(raw, policy=email.policy.default)

    def __getitem__(self, header):
        return self.message[header]

    @property
    def text(self):
        return self.message.get_content().replace("\r\n", "\n")

    @property
    def link(self):
        return re.search(r"^https?://\S+", self.text, re.M).group(0)

    @property
    def token(self):
        return self.link.split("#token=")[1]

    def __repr__(self):
        return "<to %s: %s>" % (self["To"], self["Subject"])


class MailServer:
    """script: replies to the next mails, each None (taken), an SMTP reply line, or seconds to hang."""

    def __init__(self, port=None, tls=None, implicit_tls=None, login=None, at="DATA", **options):
        self.port = port or ports.free_port()
        self.mails, self.script, self.at = [], [], at
        self.logins, self.was_encrypted = [], []
        self._login, self._condition = login, threading.Condition()
        if tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*tls)
            options["tls_context"] = context
        if login:
            options.update(authenticator=self._authenticate, auth_required=True,
                           auth_require_tls=bool(tls))
        controller = {}
        if implicit_tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*implicit_tls)
            controller["ssl_context"] = context
        self._options = {"hostname": "127.0.0.1", "port": self.port, "enable_SMTPUTF8": True,
                         "ready_timeout": 30, **controller, **options}
        self._controller = None
        self.start()

    def start(self):
        self._controller = Controller(self, **self._options)
        self._controller.start()

    def stop(self):
        if self._controller:
            self._controller.stop(no_assert=True)
            self._controller = None

    @property
    def url(self):
        return "smtp://127.0.0.1:%d" % self.port

    def _authenticate(self, server, session, envelope, mechanism, data):
        given = (data.login.decode(), data.password.decode())
        self.logins.append(given)
        return AuthResult(success=given == self._login, handled=False)

    async def _reply(self):
        reply = self.script.pop(0) if self.script else None
        if isinstance(reply, (int, float)):
            await asyncio.sleep(reply)
            reply = None
        return reply

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        reply = await self._reply() if self.at == "RCPT" else None
        if reply:
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        reply = await self._reply() if self.at == "DATA" else None
        if reply:
            return reply
        with self._condition:
            self.was_encrypted.append(session.ssl is not None)
            self.mails.append(Mail(envelope.content, envelope))
            self._condition.notify_all()
        return "250 OK"

    def wait(self, n=1, seconds=60):
        """The first n mails."""
        with self._condition:
            assert self._condition.wait_for(lambda: len(self.mails) >= n, seconds), \
                "waited in vain for mail %d: %r" % (n, self.mails)
        return self.mails[:n]

    def next(self, seconds=60):
        """The first mail, taken away."""
        self.wait(1, seconds)
        return self.mails.pop(0)

    def none_more(self, seconds=2.5):
        time.sleep(seconds)
        assert self.mails == [], self.mails
