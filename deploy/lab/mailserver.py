"""A mail server that keeps what it gets: mailserver.py HOST PORT CERT KEY DIR USER PASSWORD. STARTTLS and AUTH are mandatory."""
import json
import os
import signal
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

host, port, cert, key, folder, user, password = sys.argv[1:]


class Keeper:
    count = 0

    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        name = os.path.join(folder, "%04d" % self.count)
        with open(name + ".part", "w") as f:
            json.dump({"to": envelope.rcpt_tos, "from": envelope.mail_from, "tls": session.ssl is not None,
                       "mail": envelope.content.decode("latin-1")}, f)
        os.rename(name + ".part", name + ".json")
        return "250 kept"


def known(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (user.encode(), password.encode()))


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
Controller(Keeper(), hostname=host, port=int(port), require_starttls=True, tls_context=context, auth_required=True,
           authenticator=known).start()
signal.sigwait({signal.SIGTERM, signal.SIGINT})
