"""Ready-made codecs: what payloads go through on their way to the store. ``Engine(codecs=[Compression(), Encryption(…)])``."""

from perdure.codecs.compression import Compression
from perdure.codecs.encryption import Encryption, new_key
from perdure.model.codec import Codec

__all__ = ["Codec", "Compression", "Encryption", "new_key"]
