"""Draws that are not independent: copies within one policy's draws, and draws that two policies share."""

from keyturn.rollouts.copies.between import Shared, find_shared
from keyturn.rollouts.copies.within import Copies, find_copies

__all__ = ["Copies", "Shared", "find_copies", "find_shared"]
