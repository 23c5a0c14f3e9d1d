"""SHA-2, as hashlib has it, without OpenSSL: loading that takes 7 ms of a plugin's 60.

Names on the host are made of these hashes; nothing here is a secret.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import sha256, sha512
else:
    try:
        from _sha2 import sha256, sha512  # Python 3.12 and later
    except ImportError:
        try:
            from _sha256 import sha256
            from _sha512 import sha512
        except ImportError:  # a Python that was built without its own
            from hashlib import sha256, sha512

__all__ = ["sha256", "sha512"]
