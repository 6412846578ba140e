"""Takes names on a tenant's road with nats-py: publishes a small event under each `Nats-Msg-Id` NAME, as anybody may, and prints how many the road took.

usage: take_names.py NATS_URL TENANT CHANGE NAME...
"""
import asyncio
import json
import sys

import nats


async def main(url, tenant, change, names):
    client = await nats.connect(url)
    stream = client.jetstream()
    taken = 0
    for number, name in enumerate(names):
        event = {"id": f"taken-{number}", "change_id": change, "timestamp": "2026-11-30T12:00:00Z", "phase": "audit",
                 "intent": {"source": "api", "initiator": "mallory", "tenant": tenant}, "notes": name}
        body = json.dumps({"provisioning_event": event}).encode()
        answer = await stream.publish(f"upm.events.{tenant}.audit.mallory", body, headers={"Nats-Msg-Id": name})
        taken += not answer.duplicate
    print(taken)
    await client.close()


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
