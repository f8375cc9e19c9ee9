"""What the client seals the workers open, and nobody else: not even under another id."""

from typing import Any

import pytest
from pydantic import SecretStr

from longtake.sealing import sealed
from models.sealing import NotOpened, open_sealed, public_key
from models.vault import Vault

OLD, NEW = SecretStr("an-old-key-that-only-tests-use-0123"), SecretStr("n" * 40)
CONTENT: dict[str, Any] = {"request": {"prompt": "a quiet sea 星", "webhook_secret": "s3cret"}}
FOR: dict[str, str] = {"task": "video.enqueue", "id_": "order-1", "tenant": "acme"}


def test_what_is_sealed_is_opened_and_says_nothing_to_others() -> None:
    vault = Vault((OLD,))

    text = sealed(CONTENT, key=public_key(vault), **FOR)

    assert open_sealed(vault, text, **FOR) == CONTENT
    assert "s3cret" not in text
    assert sealed(CONTENT, key=public_key(vault), **FOR) != text


@pytest.mark.parametrize("name", FOR)
def test_it_is_of_one_message(name: str) -> None:
    """Whoever reads the broker could otherwise send it again as their own tenant's."""
    vault = Vault((OLD,))
    text = sealed(CONTENT, key=public_key(vault), **FOR)

    with pytest.raises(NotOpened, match="another message"):
        open_sealed(vault, text, **FOR | {name: "another"})


def test_its_key_rotates_with_the_secrets() -> None:
    text = sealed(CONTENT, key=public_key(Vault((OLD,))), **FOR)

    assert open_sealed(Vault((NEW, OLD)), text, **FOR) == CONTENT
    assert public_key(Vault((NEW, OLD))) == public_key(Vault((NEW,)))
    with pytest.raises(NotOpened, match="LONGTAKE_SECRET_KEYS"):
        open_sealed(Vault((NEW,)), text, **FOR)


@pytest.mark.parametrize("damage", ["", "v1", "v2.00000000.AAAA", "v1.{name}.AAAA", "v1.{name}.é"])
def test_what_is_damaged_is_refused_in_words(damage: str) -> None:
    vault = Vault((OLD,))
    name = sealed(CONTENT, key=public_key(vault), **FOR).split(".")[1]

    with pytest.raises(NotOpened):
        open_sealed(vault, damage.format(name=name), **FOR)


def test_a_flipped_bit_is_noticed() -> None:
    vault = Vault((OLD,))
    text = sealed(CONTENT, key=public_key(vault), **FOR)

    with pytest.raises(NotOpened, match="damaged"):
        open_sealed(vault, text[:60] + ("A" if text[60] != "A" else "B") + text[61:], **FOR)


@pytest.mark.parametrize("key", ["", "ltseal_", "ltseal_AAAA", "A" * 43, "ltseal_" + "é" * 43])
def test_what_is_no_key_is_refused_by_name(key: str) -> None:
    with pytest.raises(ValueError, match="sealing_key must be ltseal_"):
        sealed(CONTENT, key=key, **FOR)
