"""Puts a file into an object store with nats-py's own code, or gets one out of it: what a client that is not ours makes of the layout.

usage: object.py put|get NATS_URL BUCKET NAME FILE
"""
import asyncio
import sys

import nats


async def main(what, url, bucket, name, path):
    client = await nats.connect(url)
    store = await client.jetstream().object_store(bucket)
    if what == "put":
        with open(path, "rb") as file:
            await store.put(name, file)
    else:
        found = await store.get(name)
        with open(path, "wb") as file:
            file.write(found.data)
    await client.close()


asyncio.run(main(*sys.argv[1:]))
