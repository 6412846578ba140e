"""Publishes distinct events as fast as it can until it has sent COUNT or the server is gone, and writes each answer
with its event to OUT as it arrives: what a producer that is not ours believes to be safe.

usage: burst.py NATS_URL TENANT RUN COUNT OUT
"""
import asyncio
import base64
import json
import os
import sys

import nats

WINDOW = 256
PHASES = ["plan", "preflight", "execute", "verify", "audit"]


def event(tenant, run, number):
    phase = PHASES[number % len(PHASES)]
    return phase, json.dumps({"provisioning_event": {
        "id": f"{run}-{number}",
        "change_id": f"{run}-{number // len(PHASES)}",
        "timestamp": "2026-01-05T10:00:00Z",
        "phase": phase,
        "intent": {"source": "api", "initiator": "burst", "tenant": tenant, "request": f"resize node pool {number}"},
        "target": {"cloud": "azure", "resources": [{"type": "az_aks", "name": f"aks-{number}"}]},
    }}).encode()


async def main(url, tenant, run, count, out):
    client = await nats.connect(url, allow_reconnect=False)

    async def gone():
        while client.is_connected:
            await asyncio.sleep(0.05)

    inbox = client.new_inbox()
    window = asyncio.Semaphore(WINDOW)
    sent = {}
    answered = 0
    done = asyncio.Event()

    with open(out, "w", encoding="utf-8") as log:
        async def answer(message):
            nonlocal answered
            number = int(message.subject.rsplit(".", 1)[1])
            log.write(json.dumps({
                "status": message.headers["Upm-Status"],
                "index": int(message.headers["Upm-Index"]),
                "event": base64.b64encode(sent[number]).decode(),
                "receipt": message.data.decode(),
            }) + "\n")
            log.flush()
            answered += 1
            window.release()
            if answered == count:
                done.set()

        await client.subscribe(inbox + ".*", cb=answer)

        async def publish():
            for number in range(count):
                await window.acquire()
                phase, body = event(tenant, run, number)
                sent[number] = body
                await client.publish(
                    f"upm.events.{tenant}.{phase}.burst", body, headers={"Upm-Receipt": f"{inbox}.{number}"})

        publishing = asyncio.create_task(publish())
        waits = [asyncio.create_task(done.wait()), asyncio.create_task(gone())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        publishing.cancel()
    # The client's own clean-up can wait for ever on a server that was killed; all that matters is in OUT.
    os._exit(0)


url, tenant, run, count, out = sys.argv[1:]
asyncio.run(main(url, tenant, run, int(count), out))
