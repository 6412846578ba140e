"""Ed25519, strictly (docs/evidence-pack.md, "Verifying", 5): no cofactor, no small order, one encoding of everything."""

import hashlib
import json
import sys

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
NEUTRAL = (0, 1, 1, 0)


def point_add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def point_mul(scalar, point):
    out = NEUTRAL
    while scalar:
        if scalar & 1:
            out = point_add(out, point)
        point, scalar = point_add(point, point), scalar >> 1
    return out


def point_equal(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


def point_decode(data):
    """A point in its canonical encoding that is not of small order, or None."""
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    point = (x, y, 1, x * y % P)
    return None if point_equal(point_mul(8, point), NEUTRAL) else point


BASE = point_decode((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def ed25519(public, message, signature):
    """RFC 8032 without the cofactor; small order and encodings that are not canonical are refused."""
    if len(public) != 32 or len(signature) != 64:
        return False
    a, r, s = point_decode(public), point_decode(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % L
    return point_equal(point_mul(s, BASE), point_add(r, point_mul(k, a)))


def main():
    """Prints the numbers of the vectors that are accepted (C2SP CCTV: ledger/tests/vectors/cctv-ed25519/ed25519vectors.json)."""
    with open(sys.argv[1], encoding="utf-8") as file:
        for vector in json.load(file):
            if ed25519(bytes.fromhex(vector["key"]), vector["msg"].encode(), bytes.fromhex(vector["sig"])):
                print(vector["number"])


if __name__ == "__main__":
    main()
