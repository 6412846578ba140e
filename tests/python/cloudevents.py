"""Publishes one CloudEvent in each NATS binding, and a message that is none, with nats-py.

usage: cloudevents.py NATS_URL STRUCTURED_JSON DATA_JSON
"""
import asyncio
import sys

import nats


async def main(url, structured, data):
    client = await nats.connect(url, max_reconnect_attempts=2)
    await client.publish("ci.events.deploy", structured.encode(), headers={"Content-Type": "application/cloudevents+json"})
    await client.publish("ci.events.deploy", data.encode(), headers={
        "Content-Type": "application/json",
        "ce-specversion": "1.0",
        "ce-id": "b%2D1",
        "ce-source": "/ci",
        "ce-type": "com.example.plan",
        "ce-time": "2026-01-02T03:04:05Z",
    })
    await client.publish("ci.events.noise", b"hello")
    await client.flush()
    await client.close()


asyncio.run(main(*sys.argv[1:4]))
