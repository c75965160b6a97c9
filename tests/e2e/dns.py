#!/usr/bin/env python3
"""A DNS server for one scene: answers over UDP on loopback from a file that is read anew for each question.

usage: dns.py ZONE READY     the port goes to READY once it listens
ZONE has lines "NAME A ADDRESS", "NAME AAAA ADDRESS", "NAME SRV HOST PORT", "NAME fail" (SERVFAIL) or "NAME hang" (no answer).
"""
import ipaddress
import os
import socket
import struct
import sys

A, AAAA, SRV = 1, 28, 33


def name_of(packet, at):
    labels = []
    while packet[at]:
        labels.append(packet[at + 1:at + 1 + packet[at]].decode())
        at += 1 + packet[at]
    return '.'.join(labels).lower(), at + 1


def spelled(name):
    return b''.join(bytes([len(label)]) + label.encode() for label in name.split('.')) + b'\0'


def record(kind, words):
    if kind == SRV:
        data = struct.pack('>HHH', 0, 0, int(words[1])) + spelled(words[0])
    else:
        data = ipaddress.ip_address(words[0]).packed
    return b'\xc0\x0c' + struct.pack('>HHIH', kind, 1, 1, len(data)) + data


def answer(packet, zone):
    name, at = name_of(packet, 12)
    kind = struct.unpack('>H', packet[at:at + 2])[0]
    rows = [line.split() for line in zone.splitlines() if line.split()[:1] == [name]]
    if any(row[1] == 'hang' for row in rows):
        return None
    code = 2 if any(row[1] == 'fail' for row in rows) else 0 if rows else 3
    wanted = {A: 'A', AAAA: 'AAAA', SRV: 'SRV'}.get(kind)
    records = [record(kind, row[2:]) for row in rows if row[1] == wanted]
    head = packet[:2] + struct.pack('>HHHHH', 0x8180 | code, 1, len(records), 0, 0)
    return head + packet[12:at + 4] + b''.join(records)


def main():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(('127.0.0.1', 0))
    with open(sys.argv[2] + '.new', 'w') as out:
        out.write(str(sock.getsockname()[1]))
    os.rename(sys.argv[2] + '.new', sys.argv[2])
    while True:
        packet, client = sock.recvfrom(4096)
        with open(sys.argv[1]) as zone:
            reply = answer(packet, zone.read())
        if reply is not None:
            sock.sendto(reply, client)


main()
