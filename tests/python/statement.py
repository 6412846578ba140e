"""Reads the in-toto statement in a Sigstore bundle with the in-toto project's own library, which judges it, and prints what it says.

    PYTHONPATH=<in-toto-attestation> statement.py BUNDLE

Ends with 1 where the library finds no valid statement.
"""

import base64
import json
import sys

from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement

with open(sys.argv[1], encoding="utf-8") as file:
    envelope = json.load(file)["dsseEnvelope"]
if envelope["payloadType"] != "application/vnd.in-toto+json":
    sys.exit(f"payloadType is {envelope['payloadType']}")
message = statement_pb2.Statement()
try:
    json_format.Parse(base64.b64decode(envelope["payload"], validate=True), message)
    statement = Statement.copy_from_pb(message)
    statement.validate()
except (json_format.ParseError, ValueError) as error:
    sys.exit(str(error))
print(
    json.dumps(
        {
            "subjects": [[subject.name, dict(subject.digest)] for subject in message.subject],
            "predicate_type": message.predicate_type,
            "predicate": json_format.MessageToDict(message.predicate),
        }
    )
)
