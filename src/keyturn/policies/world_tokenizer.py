"""The tokenizer of the controlled world: one word, one id, nothing added, nothing normalised.

The ids are those of :mod:`keyturn.problems.world.vocabulary`, which stays free of transformers.
"""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from keyturn.core.lazy import transformers
from keyturn.problems.world.vocabulary import ID, SPECIALS


def world_tokenizer() -> transformers.PreTrainedTokenizerFast:
    """A fresh tokenizer: whitespace words to ids, unknown words to ``UNK``, no token added automatically.

    The 16 reserved control words are ordinary words until a method gives them a meaning, so decoding shows
    them.
    """
    inner = Tokenizer(models.WordLevel(dict(ID), unk_token="UNK"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    # Only whole words: the three letters EOS inside a longer word end nothing.
    pad, bos, eos, unk = (
        AddedToken(word, single_word=True, special=True, normalized=False) for word in SPECIALS
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        unk_token=unk,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
