"""Publishes files as events with nats-py, asks for receipts, and prints one JSON line an answer.

usage: publish.py NATS_URL SUBJECT FILE...
"""
import asyncio
import json
import sys

import nats


async def main(url, subject, files):
    client = await nats.connect(url, max_reconnect_attempts=2)
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    for file in files:
        with open(file, "rb") as source:
            await client.publish(subject, source.read(), headers={"Upm-Receipt": inbox})
        answer = await answers.next_msg(timeout=30)
        print(json.dumps({
            "file": file,
            "status": answer.headers["Upm-Status"],
            "index": int(answer.headers["Upm-Index"]),
            "body": answer.data.decode(),
        }), flush=True)
    await client.close()


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
