"""Receipts: whoever was given an attempt over HTTP proves it by one. Protects calls from being ended by somebody who only guesses their id.

A receipt is an HMAC-SHA-256 of the attempt's id under a key that all servers of a store share, so that none of them has to remember what
it gave to whom. Source: RFC 2104.
"""

import hmac
from hashlib import sha256


def receipt_of(secret: bytes, attempt: str) -> str:
    """Give the receipt for the attempt of that id: 64 hexadecimal digits, the same whenever it is asked for."""
    return hmac.new(secret, attempt.encode(errors="surrogatepass"), sha256).hexdigest()


def is_receipt(secret: bytes, attempt: str, text: str) -> bool:
    """Tell, in the same time whatever the text is, whether it is the receipt for that attempt."""
    return hmac.compare_digest(receipt_of(secret, attempt).encode(), text.encode(errors="surrogatepass"))
