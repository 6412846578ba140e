"""Prints what a stream holds, one JSON line a message: its sequence, and the SHA-256 of subject, zero byte, message.

usage: road.py NATS_URL STREAM
"""
import asyncio
import hashlib
import json
import sys

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy


async def main(url, stream):
    client = await nats.connect(url)
    jetstream = client.jetstream()
    left = (await jetstream.stream_info(stream)).state.messages
    config = ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL)
    consumer = await jetstream.pull_subscribe("", stream=stream, config=config)
    while left:
        for message in await consumer.fetch(min(left, 500), timeout=10):
            digest = hashlib.sha256(message.subject.encode() + b"\0" + message.data).hexdigest()
            print(json.dumps({"sequence": message.metadata.sequence.stream, "digest": digest}))
            left -= 1
    await client.close()


asyncio.run(main(sys.argv[1], sys.argv[2]))
