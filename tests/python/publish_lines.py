"""Publishes lines of {"subject", "payload"} in their order: python3 publish_lines.py NATS_URL FILE"""

import asyncio
import json
import sys

import nats


async def main(url: str, path: str) -> None:
    connection = await nats.connect(url)
    stream = connection.jetstream()
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            one = json.loads(line)
            await stream.publish(one["subject"], one["payload"].encode())
    await connection.close()


asyncio.run(main(*sys.argv[1:]))
