"""Asks a name server for names through a SOCKS5 proxy's UDP association, by PySocks.

Arguments: the proxy's address and port, user, password. The name server runs here, on loopback; it
answers a question with an address made from the question's number.
"""

import socket
import sys

import socks
from dnslib import A, DNSRecord, QTYPE, RR
from dnslib.server import BaseResolver, DNSServer

QUESTIONS = 100


class Numbers(BaseResolver):
    def resolve(self, request, handler):
        name = request.q.qname
        number = int(str(name).split(".")[0].removeprefix("n"))
        reply = request.reply()
        reply.add_answer(RR(name, QTYPE.A, rdata=A(address(number)), ttl=60))
        return reply


def address(number):
    return f"192.0.2.{number}"


def ask(through, server):
    for number in range(QUESTIONS):
        question = DNSRecord.question(f"n{number}.example.com")
        through.sendto(question.pack(), server)
        packet, source = through.recvfrom(4096)
        answer = DNSRecord.parse(packet)
        assert answer.header.id == question.header.id
        assert str(answer.a.rdata) == address(number), answer
        assert source == ("127.0.0.1", server[1]), source
    return QUESTIONS


def main():
    host, port, user, password = sys.argv[1:]
    server = DNSServer(Numbers(), address="127.0.0.1", port=0, logger=Silent())
    server.start_thread()
    name_server_port = server.server.server_address[1]
    with socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM) as through:
        through.set_proxy(socks.SOCKS5, host, int(port), username=user, password=password)
        through.settimeout(30)
        by_address = ask(through, ("127.0.0.1", name_server_port))
        by_name = ask(through, ("localhost", name_server_port))
    server.stop()
    print(f"{by_address} answers by address, {by_name} by name")


class Silent:
    """Takes what the server would print."""

    def __getattr__(self, _name):
        return lambda *_args: None


if __name__ == "__main__":
    main()
